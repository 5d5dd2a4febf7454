//! Mining and tagging of many users at once; one bad reply never stops the others.

use std::collections::{HashMap, HashSet};

use lm::{Completion, LanguageModel, LmError, Request, Sampling};
use serde::{Deserialize, Serialize};
use types::{CategoryId, ConstraintBreach, Digest, InterestProfile, Tag, User, normalise_text};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::associations::Associations;
use crate::category::TagToCategory;
use crate::constraints::{TagLexicon, TagRules, check_tags};
use crate::issue::ParseIssue;
use crate::parse::{parse_interests, parse_tags};
use crate::prompt::{Lang, mine_request, tag_request};
use crate::room;
use crate::terse::source;
use crate::votes::Votes;

/// How a batch is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchOptions {
    /// Language of prompts in prose.
    pub lang: Lang,
    /// Most tokens of one answer.
    pub max_tokens: usize,
    /// How often a user is asked at most; the first round is greedy, later ones are sampled, and the
    /// union of the answers is taken.
    pub rounds: usize,
    /// A user with so many interests (tags) is not asked again.
    pub enough: usize,
    /// Mining only, for the built-in model, whose single answers are uncertain: all rounds are asked, each
    /// text of the digest is asked about alone, and the `enough` interests that have the most votes and
    /// evidence are kept.
    pub vote: bool,
    /// Temperature of the later rounds.
    pub temperature: f32,
    /// Nucleus of the later rounds.
    pub top_p: f32,
    /// Seed of the later rounds; each user and round draws its own.
    pub seed: u64,
    /// Whether answers are held to their grammar or schema while they are written.
    pub constrain: bool,
    /// Users per call of the model, between two reports of progress.
    pub chunk: usize,
}

impl BatchOptions {
    /// For mining: one greedy round.
    #[must_use]
    pub fn mining(max_tokens: usize, seed: u64) -> Self {
        Self { rounds: 1, enough: 1, ..Self::tagging(max_tokens, seed) }
    }

    /// For mining with the built-in model: four answers and the texts alone, of which the `most` best
    /// supported interests are kept.
    #[must_use]
    pub fn voting(most: usize, seed: u64) -> Self {
        Self { rounds: 4, enough: most, vote: true, ..Self::mining(320, seed) }
    }

    /// For tags: up to three rounds until there are 50.
    #[must_use]
    pub fn tagging(max_tokens: usize, seed: u64) -> Self {
        Self {
            lang: Lang::En,
            max_tokens,
            rounds: 3,
            enough: crate::prompt::TAGS_PER_USER.0,
            vote: false,
            temperature: 0.8,
            top_p: 0.95,
            seed,
            constrain: true,
            chunk: 64,
        }
    }
}

/// Reports (done, total) users.
type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// What mining reads of a user.
#[derive(Debug, Clone, Copy)]
pub struct MineInput<'a> {
    /// Who.
    pub user: &'a User,
    /// What they did.
    pub digest: &'a Digest,
}

/// What mining found of a user.
#[derive(Debug)]
pub struct MineOutcome {
    /// The interests; empty where the model failed.
    pub profile: InterestProfile,
    /// What was wrong with the answers.
    pub issues: Vec<ParseIssue>,
    /// Why the model did not answer; the last failure where there were several.
    pub error: Option<LmError>,
    /// Tokens of all prompts and answers.
    pub tokens: (usize, usize),
    /// How often the model was asked.
    pub rounds: usize,
}

/// Mines the interests of many users; outcome `i` belongs to input `i`.
#[must_use]
pub fn mine_batch(
    model: &dyn LanguageModel,
    inputs: &[MineInput<'_>],
    pool: &[String],
    options: &BatchOptions,
    progress: Progress<'_>,
) -> Vec<MineOutcome> {
    let mut votes: Vec<Votes> = inputs.iter().map(|_| Votes::default()).collect();
    let mut outcomes: Vec<MineOutcome> = inputs
        .iter()
        .map(|input| MineOutcome {
            profile: InterestProfile {
                user_id: input.digest.user_id.clone(),
                now: input.digest.now,
                interests: Vec::new(),
            },
            issues: Vec::new(),
            error: None,
            tokens: (0, 0),
            rounds: 0,
        })
        .collect();
    let request = |idx: usize| {
        let MineInput { user, digest } = inputs[idx];
        mine_request(model.style(), options.lang, user, digest, pool, options.max_tokens)
    };
    let mut take = |idx: usize, reply: Result<Completion, LmError>| {
        let outcome = &mut outcomes[idx];
        outcome.rounds += 1;
        match reply {
            Ok(completion) => {
                let digest = inputs[idx].digest;
                let (interests, issues) =
                    parse_interests(model.style(), &completion.text, digest, pool);
                votes[idx].add(interests);
                outcome.issues.extend(issues);
                add_tokens(&mut outcome.tokens, &completion);
            }
            Err(error) => outcome.error = Some(error),
        }
        if options.vote { 0 } else { votes[idx].len() }
    };
    let ids: Vec<&str> = inputs.iter().map(|i| i.digest.user_id.as_str()).collect();
    run_rounds(model, &ids, options, progress, (&request, &mut take));
    if !options.vote {
        for (outcome, votes) in outcomes.iter_mut().zip(votes) {
            outcome.profile.interests = votes.all();
        }
        return outcomes;
    }
    let listed: HashSet<String> = pool.iter().map(|name| normalise_text(name)).collect();
    let digests: Vec<&Digest> = inputs.iter().map(|input| input.digest).collect();
    let read = |row: usize, read: &Completion| add_tokens(&mut outcomes[row].tokens, read);
    match Associations::ask(model, &digests, read) {
        Ok(associations) => {
            for ((outcome, votes), digest) in outcomes.iter_mut().zip(votes).zip(digests) {
                let evidence = (digest, associations.add_up(digest), options.rounds);
                let mut winners = votes.winners(options.enough, evidence);
                winners.iter_mut().for_each(|i| i.source = source(&i.text, &listed));
                outcome.profile.interests = winners;
            }
        }
        Err(error) => outcomes.iter_mut().for_each(|o| o.error = Some(error.clone())),
    }
    outcomes
}

/// What tagging reads of a user.
#[derive(Debug, Clone, Copy)]
pub struct TagInput<'a> {
    /// Who.
    pub user: &'a User,
    /// What they did.
    pub digest: &'a Digest,
    /// What they are interested in.
    pub profile: &'a InterestProfile,
}

/// What tagging found of a user.
#[derive(Debug)]
pub struct TagOutcome {
    /// Whose.
    pub user_id: String,
    /// Tags that hold all constraints, with categories: the first of every category, then the second
    /// of every category, and so on, so that any beginning of the list is as varied as it can be.
    pub tags: Vec<Tag>,
    /// Tags that were refused, and what the whole list lacks.
    pub breaches: Vec<ConstraintBreach>,
    /// What was wrong with the answers.
    pub issues: Vec<ParseIssue>,
    /// Why the model did not answer; the last failure where there were several.
    pub error: Option<LmError>,
    /// Tokens of all prompts and answers.
    pub tokens: (usize, usize),
    /// How often the model was asked; 0 for a user without interests.
    pub rounds: usize,
}

/// Predicts tags for many users; outcome `i` belongs to input `i`. Users without interests are not
/// asked about.
#[must_use]
pub fn tag_batch(
    model: &dyn LanguageModel,
    inputs: &[TagInput<'_>],
    shop: (&TagLexicon, Option<&TagToCategory>),
    options: &BatchOptions,
    progress: Progress<'_>,
) -> Vec<TagOutcome> {
    let asked: Vec<usize> =
        (0..inputs.len()).filter(|&idx| !inputs[idx].profile.interests.is_empty()).collect();
    let mut outcomes: Vec<TagOutcome> = inputs
        .iter()
        .map(|input| TagOutcome {
            user_id: input.digest.user_id.clone(),
            tags: Vec::new(),
            breaches: Vec::new(),
            issues: Vec::new(),
            error: None,
            tokens: (0, 0),
            rounds: 0,
        })
        .collect();
    // All tags of all rounds, so that the constraints are checked on the union.
    let mut proposed: Vec<Vec<Tag>> = vec![Vec::new(); inputs.len()];
    let request = |row: usize| {
        let TagInput { user, digest, profile } = inputs[asked[row]];
        tag_request(model.style(), options.lang, user, digest, profile, options.max_tokens)
    };
    let mut take = |row: usize, reply: Result<Completion, LmError>| {
        let idx = asked[row];
        let outcome = &mut outcomes[idx];
        outcome.rounds += 1;
        match reply {
            Ok(completion) => {
                let (tags, issues) = parse_tags(model.style(), &completion.text, &shop.0.cores);
                // A later round repeats much of the first: that is no breach.
                let known: HashSet<String> =
                    proposed[idx].iter().map(|tag| crate::stem_key(&tag.text)).collect();
                let first = proposed[idx].is_empty();
                let new = tags
                    .into_iter()
                    .filter(|t| first || !known.contains(&crate::stem_key(&t.text)));
                proposed[idx].extend(new);
                outcome.issues.extend(issues);
                add_tokens(&mut outcome.tokens, &completion);
            }
            Err(error) => outcome.error = Some(error),
        }
        let TagInput { digest, profile, .. } = inputs[idx];
        let rules = TagRules::new(digest, &profile.interests, shop.0, shop.1);
        let (kept, breaches) = check_tags(proposed[idx].clone(), &rules);
        (outcome.tags, outcome.breaches) = (in_turn(kept), breaches);
        outcome.tags.len()
    };
    let ids: Vec<&str> = asked.iter().map(|&idx| inputs[idx].digest.user_id.as_str()).collect();
    run_rounds(model, &ids, options, progress, (&request, &mut take));
    outcomes
}

/// How a request of a row is made, and how its reply is taken, which answers how many results the row
/// has now.
type Ask<'a> =
    (&'a dyn Fn(usize) -> Request, &'a mut dyn FnMut(usize, Result<Completion, LmError>) -> usize);

/// Asks for every row, round after round, until it has enough.
fn run_rounds(
    model: &dyn LanguageModel,
    ids: &[&str],
    options: &BatchOptions,
    progress: Progress<'_>,
    (request, take): Ask<'_>,
) {
    let total = ids.len() as u64;
    let mut open: Vec<usize> = (0..ids.len()).collect();
    for round in 0..options.rounds {
        let mut next = Vec::new();
        for rows in open.chunks(options.chunk.max(1)) {
            let requests: Vec<Request> = rows
                .iter()
                .map(|&row| {
                    let mut request = request(row);
                    if round > 0 {
                        request.sampling = sampling(ids[row], round, options);
                    }
                    if !options.constrain {
                        request.constraint = None;
                    }
                    request
                })
                .collect();
            let mut replies = room::generate(model, &requests).into_iter();
            for &row in rows {
                let reply = replies.next().unwrap_or_else(|| Err(missing_reply(model)));
                if take(row, reply) < options.enough {
                    next.push(row);
                }
            }
            if round == 0 {
                let done = rows.last().map_or(0, |&row| row as u64 + 1);
                progress(done, total);
            }
        }
        open = next;
    }
}

fn sampling(user_id: &str, round: usize, options: &BatchOptions) -> Sampling {
    let seed = xxh3_64_with_seed(user_id.as_bytes(), options.seed.wrapping_add(round as u64));
    Sampling { temperature: options.temperature, top_p: options.top_p, seed }
}

fn add_tokens(tokens: &mut (usize, usize), completion: &Completion) {
    tokens.0 += completion.prompt_tokens;
    tokens.1 += completion.completion_tokens;
}

/// One tag of every category at a time, categories in order of first appearance.
fn in_turn(tags: Vec<Tag>) -> Vec<Tag> {
    let mut of_category: HashMap<Option<CategoryId>, usize> = HashMap::new();
    let turn = |tag: Tag| {
        let n = of_category.entry(tag.category).or_default();
        *n += 1;
        (*n, tag)
    };
    let mut turns: Vec<(usize, Tag)> = tags.into_iter().map(turn).collect();
    turns.sort_by_key(|(n, _)| *n); // stable
    turns.into_iter().map(|(_, tag)| tag).collect()
}

/// The model broke the contract of one reply per request.
fn missing_reply(model: &dyn LanguageModel) -> LmError {
    LmError::BadReply {
        url: model.name().to_owned(),
        reason: "fewer replies than requests".to_owned(),
        body: String::new(),
    }
}
