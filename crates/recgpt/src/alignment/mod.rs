//! Alignment in three stages: curriculum, reasoning, self-training with a judge (RECGPT.md 1.1).
//!
//! Each stage goes on from the weights of the one before, is measured on unseen worlds, and keeps its
//! folder, so that an alignment that was stopped continues, and one that got worse is rolled back.

mod ablation;
mod answers;
mod base;
mod curriculum;
mod figures;
mod fit;
mod folder;
mod judge;
mod manifest;
mod reasoning;
mod recipe;
mod report;
mod samples;
mod scorecard;
mod self_training;
mod teacher;
mod tokenizer;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use align::{CurriculumSamples, Sample};
use anyhow::Result;
use clap::ValueEnum;
use lm::{Decoder, DecoderConfig, Tokenizer, load_decoder};

pub(crate) use self::ablation::ablate;
pub(crate) use self::fit::{measure_fit, model_figures};
pub(crate) use self::folder::Folder;
use self::folder::{StageEnd, StageRecord, Stages};
pub(crate) use self::recipe::Recipe;
pub(crate) use self::report::write_report;
pub(crate) use self::samples::export_samples;
use self::scorecard::Questions;
pub(crate) use self::scorecard::Scorecard;
pub(crate) use self::teacher::Teacher;
use self::teacher::{TaughtSamples, taught_samples};
use crate::progress::say;

/// A part of the recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// Mining and tagging from nothing; left out with `--from`.
    Base,
    /// Sixteen short subtasks.
    Curriculum,
    /// Chains of reasons from behaviour to interest to tag, and the judge's criteria.
    Reasoning,
    /// A model that judges alone, tuned on generated defects and on the model's own outputs.
    Judge,
    /// The model's own answers that pass its judge.
    SelfTraining,
}

/// One alignment under way.
pub(crate) struct Alignment<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) folder: &'a Folder,
    pub(crate) tokenizer: Tokenizer,
    /// Folder with `shopping_goals`, `product_taxonomy` and `purchase_intention`.
    pub(crate) data: Option<&'a Path>,
    /// Weights to go on from.
    pub(crate) from: Option<&'a Path>,
    /// Samples of the curriculum that are trained on, by level, and those that are asked.
    pub(crate) curriculum: CurriculumSamples,
    /// Who teaches mining and tagging; the embedded teacher where it is none.
    teacher: Option<&'a Teacher>,
    taught: OnceCell<TaughtSamples>,
}

/// What an alignment begins with besides its recipe.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// Model folder to go on from.
    pub(crate) from: Option<&'a Path>,
    /// Folder of shared data.
    pub(crate) data: Option<&'a Path>,
    /// Teacher of stage 2, in place of the embedded one.
    pub(crate) teacher: Option<&'a Teacher>,
}

/// Runs the stages of a recipe that are not done yet, and chooses the best of the last ones.
pub(crate) fn align(
    recipe: &Recipe,
    folder: &Folder,
    Sources { from, data, teacher }: Sources<'_>,
    without: &[Stage],
) -> Result<Scorecard> {
    let mut stages = folder.stages()?;
    teacher::bind(teacher, folder, &stages)?;
    let tokenizer = tokenizer::tokenizer(recipe, folder, from, data)?;
    let curriculum = curriculum::samples(&recipe.curriculum, data)?;
    let taught = OnceCell::new();
    let alignment =
        Alignment { recipe, folder, tokenizer, data, from, curriculum, teacher, taught };
    let reasons = stages.get(reasoning::NAME).is_some();
    if !reasons && !without.contains(&Stage::Reasoning) {
        // What a teacher lacks shows before anything is trained.
        alignment.taught()?;
    }
    let all = [Stage::Base, Stage::Curriculum, Stage::Reasoning, Stage::Judge, Stage::SelfTraining];
    for stage in all {
        if without.contains(&stage) {
            continue;
        }
        match stage {
            Stage::Base => base::run(&alignment, &mut stages)?,
            Stage::Curriculum => curriculum::run(&alignment, &mut stages)?,
            Stage::Reasoning => reasoning::run(&alignment, &mut stages)?,
            Stage::Judge => judge::run(&alignment, &mut stages)?,
            Stage::SelfTraining => self_training::run(&alignment, &mut stages)?,
        }
    }
    alignment.choose_best(&mut stages)
}

impl Alignment<'_> {
    /// What the teacher behind a server has written for stage 2; none of the embedded one.
    fn taught(&self) -> Result<Option<&TaughtSamples>> {
        let Some(teacher) = self.teacher else { return Ok(None) };
        if self.taught.get().is_none() {
            let (plan, window) = (&self.recipe.reasoning.worlds, self.recipe.window);
            let taught = taught_samples(teacher, plan, &self.tokenizer, window)?;
            // Nothing else fills the cell.
            drop(self.taught.set(taught));
        }
        Ok(self.taught.get())
    }

    /// The weights after the last stage that is done and answers, or those to begin with.
    fn latest(&self, stages: &Stages) -> Result<Decoder> {
        let Some(last) = stages.answering() else { return self.first() };
        self.folder.decoder(&last.stage)
    }

    /// New weights, or those of the folder that the training goes on from, with the recipe's window.
    fn first(&self) -> Result<Decoder> {
        let recipe = self.recipe;
        let Some(dir) = self.from else {
            let config = DecoderConfig {
                hidden_size: recipe.hidden_size,
                intermediate_size: recipe.hidden_size * 2,
                num_hidden_layers: recipe.layers,
                max_position_embeddings: recipe.window,
                eos_token_id: Some(self.tokenizer.eos()),
                ..DecoderConfig::builtin(self.tokenizer.vocab_size())
            };
            return Ok(Decoder::init(config, recipe.base.trainer.seed)?);
        };
        let old = load_decoder(dir)?;
        let config =
            DecoderConfig { max_position_embeddings: recipe.window, ..old.config().clone() };
        Ok(Decoder::new(config, old.params().to_vec())?)
    }

    /// The model folder of a stage, and the tokenizer of all.
    fn model_of(&self, stage: &str) -> (PathBuf, PathBuf) {
        (self.folder.path(stage).join("model"), self.folder.path("tokenizer.json"))
    }

    /// The scorecard of the weights in a stage's folder.
    fn scorecard(&self, stage: &str, stages: &Stages) -> Result<Scorecard> {
        let judge = stages.judge_of(stage).map(|judge| self.model_of(judge).0);
        let (asked, judge) = (&self.curriculum.asked, judge.as_deref());
        let questions = Questions { curriculum: asked, data: self.data, judge };
        let (dir, tokenizer) = self.model_of(stage);
        scorecard::scorecard(&dir, &tokenizer, &self.recipe.scorecard, questions)
    }

    /// Measures a stage that has just been trained, and adds it to those done.
    fn finish(
        &self,
        stages: &mut Stages,
        stage: (&str, &StageEnd),
        samples: &[Sample],
        steps: u64,
        notes: serde_json::Value,
    ) -> Result<()> {
        let scorecard = self.scorecard(stage.0, stages)?;
        self.record(stages, stage, samples, (steps, notes), scorecard)
    }

    /// Adds a stage to those done.
    fn record(
        &self,
        stages: &mut Stages,
        (stage, end): (&str, &StageEnd),
        samples: &[Sample],
        (steps, notes): (u64, serde_json::Value),
        scorecard: Scorecard,
    ) -> Result<()> {
        let mut per_task = std::collections::BTreeMap::new();
        for sample in samples {
            *per_task.entry(sample.task.clone()).or_insert(0) += 1;
        }
        say(&format!("{stage}: score {:.4}\n{}", scorecard.score, pretty(&scorecard)?));
        let record = StageRecord {
            stage: stage.to_owned(),
            samples: per_task,
            tokens: end.tokens,
            data_hash: end.data_hash.clone(),
            steps,
            held_out_loss: end.held_out_loss,
            notes,
            scorecard,
        };
        self.folder.record(stages, record)?;
        manifest::write(self, stages)?;
        write_report(self.folder, stages)
    }

    /// The best of reasoning and the rounds of self-training; where there is neither, the last stage.
    fn choose_best(&self, stages: &mut Stages) -> Result<Scorecard> {
        let late = |stage: &str| stage == reasoning::NAME || stage.starts_with(self_training::NAME);
        let best = stages
            .done
            .iter()
            .filter(|s| late(&s.stage))
            .max_by(|a, b| a.scorecard.score.total_cmp(&b.scorecard.score));
        let best = best.or(stages.done.last()).map(|s| (s.stage.clone(), s.scorecard.clone()));
        let Some((stage, card)) = best else {
            return Err(anyhow::anyhow!("every stage of the recipe was left out"));
        };
        self.folder.choose(stages, &stage)?;
        manifest::write(self, stages)?;
        write_report(self.folder, stages)?;
        say(&format!("chosen: {stage}, score {:.4}", card.score));
        Ok(card)
    }
}

fn pretty(card: &Scorecard) -> Result<String> {
    Ok(serde_json::to_string_pretty(card)?)
}
