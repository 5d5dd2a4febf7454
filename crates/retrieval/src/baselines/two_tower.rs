//! The two towers without tags: the same user and item towers, trained on interactions alone.

use crate::TowerConfig;

/// `config` without the losses of tags, `L = L_col`: what the tag tower has to improve on.
#[must_use]
pub fn two_tower_config(config: &TowerConfig) -> TowerConfig {
    TowerConfig { semantic_weight: 0.0, tag_hidden: 0, ..config.clone() }
}
