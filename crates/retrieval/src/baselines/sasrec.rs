//! SASRec: self-attention over the last items (Kang and McAuley 2018, arXiv 1808.09781), trained with
//! full softmax cross-entropy, which lifts it far above the published tables (Klenitskiy and Vasilev
//! 2023, arXiv 2309.07602). The encoder itself is [`crate::sequence`].

use crate::SequenceConfig;

/// `config` as SASRec has it: an item is its id, one row for both sides, all items under the softmax.
#[must_use]
pub fn sasrec_config(config: &SequenceConfig) -> SequenceConfig {
    SequenceConfig { content: false, own_history_ids: false, negatives: None, ..config.clone() }
}
