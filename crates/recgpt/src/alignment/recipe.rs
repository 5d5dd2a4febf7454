//! What the shipped weights are made from: every number of it is in the manifest.

use align::{Optimizer, TrainerConfig};
use anyhow::{Result, anyhow};
use serde::Serialize;

use super::scorecard::ScorecardPlan;
use crate::failure::Usage;
use crate::steps::worlds::{TRAINING_SEEDS, WorldPlan};

/// The three stages, after a base that has learnt the language of shops.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) vocab_size: usize,
    pub(crate) window: usize,
    pub(crate) hidden_size: usize,
    pub(crate) layers: usize,
    /// Mining and tagging from nothing; left out when the training goes on from weights (`--from`).
    pub(crate) base: ReasoningPlan,
    pub(crate) curriculum: CurriculumPlan,
    pub(crate) reasoning: ReasoningPlan,
    pub(crate) judge: JudgePlan,
    pub(crate) self_training: SelfTrainingPlan,
    pub(crate) scorecard: ScorecardPlan,
}

/// Stage 1: sixteen subtasks in topological order, level after level.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CurriculumPlan {
    /// Samples of all subtasks (published: 16.3k).
    pub(crate) samples: usize,
    /// Worlds whose catalogue and truth the subtasks read where there is no real text.
    pub(crate) worlds: WorldPlan,
    /// Times that a level's samples are read.
    pub(crate) epochs: u64,
    /// Samples of mining and tagging among those of each level, against forgetting.
    pub(crate) replay: usize,
    pub(crate) trainer: TrainerConfig,
}

/// Stage 2, and the base: chains of reasons from behaviour to interest to tag.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReasoningPlan {
    pub(crate) worlds: WorldPlan,
    /// Part of the samples of stage 1 that is read again.
    pub(crate) replay: f64,
    /// Long samples that are not trained on.
    pub(crate) held_out: usize,
    pub(crate) trainer: TrainerConfig,
}

/// The judge of stage 3, which goes on from stage 2.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct JudgePlan {
    /// Worlds with generated defects of every kind.
    pub(crate) generated: WorldPlan,
    /// Worlds whose users the model of stage 2 answers about; the truth labels its outputs.
    pub(crate) own: WorldPlan,
    pub(crate) trainer: TrainerConfig,
}

/// Stage 3: the model's own answers that pass its judge.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SelfTrainingPlan {
    /// Most rounds; fewer when the held-out score stops rising.
    pub(crate) rounds: usize,
    /// Worlds whose users are asked in each round; their truth is not read.
    pub(crate) worlds: WorldPlan,
    /// Outputs (interests and tags) of a round that are kept at most (published: 21.1k in all).
    pub(crate) outputs: usize,
    /// Samples of stage 2 beside each of the model's own.
    pub(crate) replay: f64,
    pub(crate) trainer: TrainerConfig,
}

impl Recipe {
    /// The recipe of this name.
    ///
    /// # Errors
    /// A [`Usage`] error that lists the names.
    pub(crate) fn named(name: &str) -> Result<Self> {
        match name {
            "shipped" => Ok(shipped()),
            "small" => Ok(small()),
            "tiny" => Ok(tiny()),
            other => {
                let known = "shipped, small, tiny";
                Err(anyhow!(Usage(format!("unknown recipe {other:?}; one of: {known}"))))
            }
        }
    }

    /// The same recipe with other dice: samples of other worlds, in another order.
    pub(crate) fn with_seed(mut self, seed: u64) -> Self {
        let apart = seed.wrapping_sub(1) * (1 << 24);
        for plan in [
            &mut self.base.worlds,
            &mut self.curriculum.worlds,
            &mut self.reasoning.worlds,
            &mut self.judge.generated,
            &mut self.judge.own,
            &mut self.self_training.worlds,
        ] {
            plan.seed += apart;
        }
        for trainer in [
            &mut self.base.trainer,
            &mut self.curriculum.trainer,
            &mut self.reasoning.trainer,
            &mut self.judge.trainer,
            &mut self.self_training.trainer,
        ] {
            trainer.seed = seed;
        }
        self
    }

    /// The same recipe with every stage of at most `steps` steps.
    pub(crate) fn with_steps(mut self, steps: u64) -> Self {
        for trainer in [
            &mut self.base.trainer,
            &mut self.curriculum.trainer,
            &mut self.reasoning.trainer,
            &mut self.judge.trainer,
            &mut self.self_training.trainer,
        ] {
            trainer.steps = trainer.steps.min(steps);
            trainer.warmup = trainer.warmup.min(steps.div_ceil(4));
        }
        self
    }
}

fn shipped() -> Recipe {
    let worlds = WorldPlan {
        worlds: 32,
        users: 150,
        cuts: 3,
        reasons: 1,
        counted: 1200,
        judged: 0,
        cleaned: false,
        seed: TRAINING_SEEDS + 5000,
        digest_budget: 600,
    };
    let trainer = TrainerConfig {
        lr: 1e-3,
        row_tokens: 2048,
        rows_per_step: 4,
        checkpoint_every: 100,
        optimizer: Optimizer::Muon,
        ..TrainerConfig::builtin(2300, 1)
    };
    // Small steps: more of them where tokens are few.
    let stage = TrainerConfig { rows_per_step: 2, evaluate_every: 200, ..trainer.clone() };
    let short = TrainerConfig { warmup: 20, ..stage.clone() };
    Recipe {
        name: "shipped",
        vocab_size: 4096,
        window: 2048,
        hidden_size: 256,
        layers: 4,
        base: ReasoningPlan {
            worlds,
            replay: 0.0,
            held_out: 64,
            trainer: TrainerConfig { lr: 2e-3, ..trainer.clone() },
        },
        curriculum: CurriculumPlan {
            samples: 16_298,
            worlds: WorldPlan { worlds: 6, seed: TRAINING_SEEDS + 2000, ..worlds },
            epochs: 1,
            replay: 100,
            trainer: TrainerConfig { lr: 1e-3, ..short.clone() },
        },
        reasoning: ReasoningPlan {
            worlds: WorldPlan {
                worlds: 6,
                cuts: 1,
                judged: 1,
                cleaned: true,
                seed: TRAINING_SEEDS + 3000,
                ..worlds
            },
            replay: 0.3,
            held_out: 32,
            trainer: TrainerConfig { steps: 880, ..stage },
        },
        judge: JudgePlan {
            generated: WorldPlan { worlds: 4, cuts: 1, seed: TRAINING_SEEDS + 3400, ..worlds },
            own: WorldPlan { worlds: 2, cuts: 1, seed: TRAINING_SEEDS + 3500, ..worlds },
            trainer: TrainerConfig { lr: 6e-4, steps: 320, ..short.clone() },
        },
        self_training: SelfTrainingPlan {
            rounds: 2,
            worlds: WorldPlan {
                worlds: 2,
                users: 100,
                cuts: 1,
                seed: TRAINING_SEEDS + 4000,
                ..worlds
            },
            outputs: 21_100,
            replay: 1.0,
            trainer: TrainerConfig { lr: 5e-4, steps: 100, ..short },
        },
        scorecard: scorecard(),
    }
}

fn scorecard() -> ScorecardPlan {
    ScorecardPlan {
        worlds: 2,
        users: 80,
        counted: 450,
        seed: TRAINING_SEEDS * 2,
        digest_budget: 600,
        intentions: None,
        judge_accuracy: 0.6,
    }
}

/// The shipped recipe with few of its steps, less to ask and less to judge: for ablations, which run it often.
/// One round, whatever the judge is worth, so that every run has one.
fn small() -> Recipe {
    let shipped = shipped();
    let fewer = |trainer: &TrainerConfig, steps: u64| TrainerConfig {
        steps,
        warmup: steps / 6,
        ..trainer.clone()
    };
    let asked = |plan: WorldPlan| WorldPlan { worlds: 1, users: 60, ..plan };
    Recipe {
        name: "small",
        curriculum: CurriculumPlan {
            trainer: fewer(&shipped.curriculum.trainer, 20),
            ..shipped.curriculum
        },
        reasoning: ReasoningPlan {
            worlds: WorldPlan { worlds: 2, ..shipped.reasoning.worlds },
            trainer: fewer(&shipped.reasoning.trainer, 44),
            ..shipped.reasoning
        },
        judge: JudgePlan {
            generated: WorldPlan { worlds: 1, ..shipped.judge.generated },
            own: asked(shipped.judge.own),
            trainer: fewer(&shipped.judge.trainer, 20),
        },
        self_training: SelfTrainingPlan {
            rounds: 1,
            worlds: asked(shipped.self_training.worlds),
            trainer: fewer(&shipped.self_training.trainer, 20),
            ..shipped.self_training
        },
        scorecard: ScorecardPlan {
            worlds: 1,
            users: 40,
            intentions: Some(400),
            judge_accuracy: 0.0,
            ..shipped.scorecard
        },
        ..shipped
    }
}

/// The shipped recipe in miniature, for tests: every stage runs, nothing is learnt well.
fn tiny() -> Recipe {
    let shipped = shipped();
    // Untrained, it writes interests as long as it may: a shorter digest leaves room for them before the tags.
    let digest_budget = 400;
    let small = |plan: WorldPlan| WorldPlan {
        worlds: 1,
        users: 12,
        cuts: 1,
        counted: 0,
        digest_budget,
        ..plan
    };
    let trainer = |plan: &TrainerConfig| TrainerConfig {
        rows_per_step: 2,
        checkpoint_every: 2,
        steps: 4,
        warmup: 1,
        ..plan.clone()
    };
    let reasoning = |plan: &ReasoningPlan| ReasoningPlan {
        worlds: small(plan.worlds),
        held_out: 2,
        trainer: trainer(&plan.trainer),
        ..plan.clone()
    };
    Recipe {
        name: "tiny",
        vocab_size: 1024,
        hidden_size: 32,
        layers: 1,
        base: reasoning(&shipped.base),
        reasoning: reasoning(&shipped.reasoning),
        curriculum: CurriculumPlan {
            samples: 160,
            worlds: small(shipped.curriculum.worlds),
            epochs: 1,
            replay: 2,
            trainer: trainer(&shipped.curriculum.trainer),
        },
        judge: JudgePlan {
            generated: small(shipped.judge.generated),
            own: small(shipped.judge.own),
            trainer: trainer(&shipped.judge.trainer),
        },
        self_training: SelfTrainingPlan {
            worlds: small(shipped.self_training.worlds),
            rounds: 1,
            trainer: trainer(&shipped.self_training.trainer),
            ..shipped.self_training
        },
        scorecard: ScorecardPlan {
            worlds: 1,
            users: 2,
            counted: 20,
            digest_budget,
            judge_accuracy: 0.0,
            ..shipped.scorecard
        },
        ..shipped
    }
}
