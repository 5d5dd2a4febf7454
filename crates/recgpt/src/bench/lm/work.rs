//! The prompts of the bench: interest mining for users of a world that no training has seen.

use anyhow::{Result, bail};
use intent::Lang;
use lm::{PromptStyle, Tokenizer};

use crate::steps::worlds::TrainingWorld;

/// Neither a seed of training nor one that a demo has by default, nor one of the scorecard.
const SEED: u64 = 770_000;

/// Tokens of a digest before the prompts are cut to one length.
const DIGEST: usize = 600;

/// Listed interests in the instruction.
const POOL: usize = 12;

/// Prompts of one length.
pub(super) struct Work {
    pub(super) prompts: Vec<Vec<u32>>,
    /// Tokens that all prompts begin with: the instruction.
    pub(super) shared: usize,
}

impl Work {
    /// As many prompts as the large batch has, of at most `room` tokens.
    pub(super) fn new(tokenizer: &Tokenizer, room: usize) -> Result<Self> {
        let world = TrainingWorld::new(4 * super::BATCH, SEED)?;
        let (cut, pool) = (world.world.cut(), world.world.interest_pool());
        let count = |text: &str| tokenizer.count(text);
        let mut prompts = Vec::new();
        for (idx, user) in world.world.users().iter().enumerate() {
            let (digest, _) = world.digest(idx, cut, DIGEST, &count)?;
            let pool = &pool[..pool.len().min(POOL)];
            let asked = intent::mine_request(PromptStyle::Prose, Lang::En, user, &digest, pool, 1);
            let system = asked.prompt.system.unwrap_or_default();
            prompts.push(tokenizer.encode(&format!("{system}\n{}", asked.prompt.user)));
        }
        // The longest ones, all cut to the length of the shortest of them.
        prompts.sort_by_key(|prompt| std::cmp::Reverse(prompt.len()));
        prompts.truncate(super::BATCH);
        let length = prompts.last().map_or(0, Vec::len).min(room);
        prompts.iter_mut().for_each(|prompt| prompt.truncate(length));
        let Some((first, others)) = prompts.split_first() else { bail!("the world has no users") };
        let common = |other: &Vec<u32>| first.iter().zip(other).take_while(|(a, b)| a == b).count();
        let shared = others.iter().map(common).min().unwrap_or(0);
        Ok(Self { prompts, shared })
    }

    /// Tokens of each prompt.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompts[0].len()
    }
}
