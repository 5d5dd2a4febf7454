//! Every setting of the towers and of their training.

use serde::{Deserialize, Serialize};

use crate::RetrievalError;

/// Which rows represent an item on the user's side (in the pools of a history).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistorySide {
    /// The rows of the item tower: near items follow each other.
    Shared,
    /// Own item-id rows, shared content: learns which item follows which (FPMC, FISM).
    OwnIds,
    /// Own rows for ids and content: learns which category follows which, too.
    Own,
}

/// What reads the order of a user's history, beside the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserEncoder {
    /// Nothing: means per behaviour, with recency, as published (RECGPT.md 1.3).
    Pooled,
    /// The last state of causal self-attention.
    Attention,
    /// Several vectors per user: learned codes attend over the states (RECGPT.md 2.4, Poly-Encoder).
    MultiInterest,
}

/// Settings of [`train_towers`](crate::train_towers). Defaults are what measured best on Amazon
/// Office under leave-one-out (docs/LOG.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TowerConfig {
    /// Length of all vectors.
    pub dim: usize,
    /// Hidden units of the user tower's residual layer; 0 leaves it out.
    pub user_hidden: usize,
    /// Hidden units of the item tower's residual layer; 0 leaves it out.
    pub item_hidden: usize,
    /// Hidden units of the tag tower's residual layer; 0 leaves it out.
    pub tag_hidden: usize,
    /// Rows of an item in a history.
    pub history_side: HistorySide,
    /// Whether a user has a row of their own.
    pub user_ids: bool,
    /// What reads the order of a history.
    pub user_encoder: UserEncoder,
    /// Vectors per user with [`UserEncoder::MultiInterest`].
    pub interests: usize,
    /// Newest interactions that attention reads.
    pub attention_len: usize,
    /// Heads of attention; divides `dim`.
    pub attention_heads: usize,
    /// Blocks of attention and feed-forward; with 0 the codes attend over the items themselves.
    pub attention_blocks: usize,
    /// Chance that a number of the attention's input or of a block's output is left out in training.
    pub attention_dropout: f32,

    /// Newest interactions of each behaviour group that are pooled.
    pub pool_len: usize,
    /// The `k`-th newest of a group has weight `pool_decay^k`.
    pub pool_decay: f32,
    /// Newest distinct items of the short-term pool.
    pub recent_len: usize,
    /// The `k`-th newest of the short-term pool has weight `recent_decay^k`.
    pub recent_decay: f32,
    /// A history ends this long before the interaction to be predicted: 0 predicts the next act, a
    /// day predicts the next day (and never the same session).
    pub history_gap_ms: i64,
    /// Whether an interaction with an item that the history already holds is an example.
    pub repeats: bool,

    /// Words that fewer titles hold share hashed rows.
    pub min_word_count: usize,
    /// Pairs of neighbouring words that at least so many titles hold get a row; 0 for none.
    pub min_bigram_count: usize,
    /// Rows for unknown words.
    pub word_hash_rows: usize,

    /// Loss is `L_col + semantic_weight * (alpha * L_tag + (1 - alpha) * L_cate)`.
    pub alpha: f32,
    /// Published: 1. What tags learn can cost the user tower (docs/LOG.md).
    pub semantic_weight: f32,
    /// Whether what tags learn moves items and words, too, as published. Without it the tag tower alone
    /// learns, towards items as users see them.
    pub tags_move_items: bool,
    /// Tags drawn per step.
    pub tags_per_step: usize,
    /// Share of them drawn from the catalogue instead of the batch's positives, so that items
    /// without interactions find their place.
    pub tags_from_catalogue: f32,

    /// Users' examples per step.
    pub batch: usize,
    /// Catalogues up to this size are scored whole: full softmax, no sampling, no logQ.
    pub full_softmax_items: usize,
    /// Above it: uniform negatives per step, beside those in the batch.
    pub uniform_negatives: usize,
    /// Above it: negatives per step from the category of a positive.
    pub hard_negatives: usize,
    /// Above it: negatives per step that the towers of the epoch before would recommend in error;
    /// without logQ.
    pub mined_negatives: usize,
    /// Starting value of the temperature; learned, one for all losses, so that the cosines of user
    /// and tag are comparable and can be fused.
    pub temperature: f32,

    /// Chance that an item's id is hidden in a step, so that content carries it alone too.
    pub id_dropout: f32,
    /// Chance that a user's id is hidden.
    pub user_dropout: f32,
    /// Chance that an item of a history is left out.
    pub history_dropout: f32,
    /// Length of a row at the start.
    pub init_length: f32,
    /// Peak learning rate of Adam; rises over the first 5% of the steps, falls along a cosine.
    pub learning_rate: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Most passes over the examples.
    pub epochs: usize,
    /// Most examples of one user in one epoch, drawn anew each time.
    pub examples_per_user: usize,
    /// Most steps in all; bounds the time on a large log.
    pub max_steps: usize,
    /// Users whose last interaction is kept out to choose the epoch, at most a fifth of all.
    pub validation_users: usize,
    /// Epochs without a better validation figure before training stops.
    pub patience: usize,
    /// Of everything random.
    pub seed: u64,
}

impl Default for TowerConfig {
    fn default() -> Self {
        Self {
            dim: 256,
            user_hidden: 128,
            item_hidden: 0,
            tag_hidden: 256,
            history_side: HistorySide::OwnIds,
            user_ids: true,
            user_encoder: UserEncoder::Pooled,
            interests: 4,
            attention_len: 20,
            attention_heads: 2,
            attention_blocks: 1,
            attention_dropout: 0.2,
            pool_len: 50,
            pool_decay: 0.95,
            recent_len: 10,
            recent_decay: 0.8,
            history_gap_ms: 0,
            repeats: false,
            min_word_count: 2,
            min_bigram_count: 3,
            word_hash_rows: 2048,
            alpha: 0.5,
            semantic_weight: 1.0,
            tags_move_items: true,
            tags_per_step: 128,
            tags_from_catalogue: 0.5,
            batch: 512,
            full_softmax_items: 3000,
            uniform_negatives: 512,
            hard_negatives: 128,
            mined_negatives: 0,
            temperature: 0.07,
            id_dropout: 0.1,
            user_dropout: 0.5,
            history_dropout: 0.3,
            init_length: 1.0,
            learning_rate: 0.003,
            weight_decay: 0.0,
            epochs: 12,
            examples_per_user: 200,
            max_steps: 4000,
            validation_users: 1000,
            patience: 3,
            seed: 17,
        }
    }
}

impl TowerConfig {
    /// Vectors per user.
    #[must_use]
    pub fn n_interests(&self) -> usize {
        match self.user_encoder {
            UserEncoder::Pooled | UserEncoder::Attention => 1,
            UserEncoder::MultiInterest => self.interests,
        }
    }

    /// Newest interactions that the user tower reads one by one.
    pub(crate) fn n_tokens(&self) -> usize {
        match self.user_encoder {
            UserEncoder::Pooled => 0,
            UserEncoder::Attention | UserEncoder::MultiInterest => self.attention_len,
        }
    }

    /// Refuses settings outside their range.
    ///
    /// # Errors
    /// [`RetrievalError::Setting`] with name, value and range of the first bad one.
    pub fn check(&self) -> Result<(), RetrievalError> {
        let positive = "expected a number above 0";
        let share = "expected a number from 0 to below 1";
        let checks: [(&'static str, f64, bool, &'static str); 21] = [
            ("dim", self.dim as f64, self.dim > 0, positive),
            ("batch", self.batch as f64, self.batch > 0, positive),
            ("epochs", self.epochs as f64, self.epochs > 0, positive),
            (
                "mined_negatives",
                self.mined_negatives as f64,
                self.mined_negatives == 0 || self.uniform_negatives > 0,
                "expected 0 without uniform_negatives, whose draws logQ corrects for",
            ),
            ("interests", self.interests as f64, self.interests > 0, positive),
            ("attention_len", self.attention_len as f64, self.attention_len > 0, positive),
            (
                "attention_heads",
                self.attention_heads as f64,
                self.n_tokens() == 0
                    || self.attention_heads > 0 && self.dim.is_multiple_of(self.attention_heads),
                "expected a divisor of dim",
            ),
            (
                "attention_dropout",
                self.attention_dropout.into(),
                (0.0..1.0).contains(&self.attention_dropout),
                share,
            ),
            ("max_steps", self.max_steps as f64, self.max_steps > 0, positive),
            ("word_hash_rows", self.word_hash_rows as f64, self.word_hash_rows > 0, positive),
            (
                "examples_per_user",
                self.examples_per_user as f64,
                self.examples_per_user > 0,
                positive,
            ),
            ("recent_len", self.recent_len as f64, self.recent_len > 0, positive),
            ("temperature", self.temperature.into(), self.temperature > 0.0, positive),
            ("learning_rate", self.learning_rate.into(), self.learning_rate > 0.0, positive),
            ("init_length", self.init_length.into(), self.init_length > 0.0, positive),
            (
                "history_gap_ms",
                self.history_gap_ms as f64,
                self.history_gap_ms >= 0,
                "expected 0 or more",
            ),
            ("alpha", self.alpha.into(), (0.0..=1.0).contains(&self.alpha), "expected 0 to 1"),
            ("id_dropout", self.id_dropout.into(), (0.0..1.0).contains(&self.id_dropout), share),
            (
                "user_dropout",
                self.user_dropout.into(),
                (0.0..=1.0).contains(&self.user_dropout),
                share,
            ),
            (
                "history_dropout",
                self.history_dropout.into(),
                (0.0..1.0).contains(&self.history_dropout),
                share,
            ),
            (
                "tags_from_catalogue",
                self.tags_from_catalogue.into(),
                (0.0..=1.0).contains(&self.tags_from_catalogue),
                "expected 0 to 1",
            ),
        ];
        for (key, value, good, expected) in checks {
            if !good {
                return Err(RetrievalError::Setting { key, value: value.to_string(), expected });
            }
        }
        Ok(())
    }
}
