//! Stage 1: sixteen subtasks, level after level.

use std::path::Path;

use align::{CurriculumSources, Level, Sample};
use anyhow::Result;
use serde_json::json;

use super::Alignment;
use super::folder::{StageRun, Stages, train};
use super::recipe::CurriculumPlan;

pub(super) const NAME: &str = "curriculum";

/// The samples of the curriculum, divided.
pub(crate) struct Curriculum {
    /// In topological order of the subtasks.
    pub(crate) trained: Vec<Sample>,
    /// Questions that no stage is trained on.
    pub(crate) asked: Vec<Sample>,
}
