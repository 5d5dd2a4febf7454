//! The report of a run: one struct, written as `report.json` and as one self-contained `report.html`.
//!
//! Sections are data that other crates measured; this module computes no metric. Whatever was not
//! measured is `None` or empty, and the page leaves it out or says so.

mod figures;
mod html;
mod sections;
mod svg;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::html::render_page;
pub use self::sections::{
    BreachCount, CompressionSection, DigestFacts, EvaluationSection, ExtraSection, Floor,
    HeavyUser, InputSection, IntentSection, IssueCount, LevelTokens, MappedType, RejectReason,
    Segment, ShownItem, ShownUser, SourceFile, SweepPoint, Trace, TraceStep, TrainingCurve,
};
pub use self::svg::Series;
use crate::EvalError;

/// Layout version of `report.json`.
pub const REPORT_VERSION: u32 = 1;

/// What ran, on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct RunInfo {
    /// The command as typed, such as `recgpt demo --seed 7`.
    pub command: String,
    /// Name of the data set, such as "simulated marketplace".
    pub data_set: String,
    /// Seed of the run.
    pub seed: u64,
    /// Names and versions: program, commit, language model, configuration.
    pub versions: Vec<(String, String)>,
}

/// Seconds of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Name of the step, such as `mine`.
    pub step: String,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// What a second run need not repeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Timings {
    /// Steps in the order they ran.
    pub steps: Vec<StepTime>,
    /// Highest resident memory of the process, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// The machine in words, such as "2 cores".
    pub machine: String,
}

/// Everything that a run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// Title of the page.
    pub title: String,
    /// What ran.
    pub run: RunInfo,
    /// Name to number: those of the sections (filled by [`Report::seal`]) and those put in by hand.
    pub figures: BTreeMap<String, f64>,
    /// What went in.
    pub input: Option<InputSection>,
    /// Digests.
    pub compression: Option<CompressionSection>,
    /// Interests and tags.
    pub intent: Option<IntentSection>,
    /// Losses of what was trained.
    pub training: Vec<TrainingCurve>,
    /// Ranking metrics.
    pub evaluation: Option<EvaluationSection>,
    /// One recommendation from behaviour line to reason.
    pub trace: Option<Trace>,
    /// Anything else, as small tables.
    pub extra: Vec<ExtraSection>,
    /// What falls short, and what the figures do not say.
    pub notes: Vec<String>,
    /// Commands to try next.
    pub next_commands: Vec<String>,
    /// Seconds and memory.
    pub timings: Timings,
}

impl Report {
    /// A report without sections.
    #[must_use]
    pub fn new(title: &str, run: RunInfo) -> Self {
        Self {
            version: REPORT_VERSION,
            title: title.to_owned(),
            run,
            figures: BTreeMap::new(),
            input: None,
            compression: None,
            intent: None,
            training: Vec::new(),
            evaluation: None,
            trace: None,
            extra: Vec::new(),
            notes: Vec::new(),
            next_commands: Vec::new(),
            timings: Timings::default(),
        }
    }

    /// Puts the figures of all sections into `figures`, over entries of the same name.
    ///
    /// # Errors
    /// [`EvalError::NotFinite`] when a figure is NaN or infinite.
    pub fn seal(&mut self) -> Result<(), EvalError> {
        let own = figures::of_sections(self);
        self.figures.extend(own);
        match self.figures.iter().find(|(_, value)| !value.is_finite()) {
            Some((name, &value)) => Err(EvalError::NotFinite { name: name.clone(), value }),
            None => Ok(()),
        }
    }

    /// The report without times and memory: two runs with one seed give equal views.
    #[must_use]
    pub fn deterministic_view(&self) -> Self {
        let mut view = self.clone();
        view.timings = Timings::default();
        view.figures.retain(|name, _| !name.starts_with("time.") && !name.starts_with("memory."));
        view
    }

    /// The report as indented JSON.
    ///
    /// # Errors
    /// [`EvalError::Json`] when a value has no JSON form.
    pub fn to_json(&self) -> Result<String, EvalError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Reads what [`Report::to_json`] wrote.
    ///
    /// # Errors
    /// [`EvalError::Json`] with line and column.
    pub fn from_json(json: &str) -> Result<Self, EvalError> {
        Ok(serde_json::from_str(json)?)
    }

    /// The page: one file, no script, no network.
    ///
    /// # Errors
    /// [`EvalError::Template`] when the template fails.
    pub fn to_html(&self) -> Result<String, EvalError> {
        html::render(self)
    }

    /// Seals the report and writes `report.json` and `report.html` into `dir`, which is made if needed.
    /// Gives the two paths.
    ///
    /// # Errors
    /// [`EvalError::Io`] with the path, or what [`Report::seal`] and [`Report::to_html`] refuse.
    pub fn write(&mut self, dir: &Path) -> Result<[PathBuf; 2], EvalError> {
        self.seal()?;
        let files = [
            (dir.join("report.json"), self.to_json()?),
            (dir.join("report.html"), self.to_html()?),
        ];
        std::fs::create_dir_all(dir).map_err(|source| io_error(dir, source))?;
        for (path, text) in &files {
            // whole file or none: a reader never sees half a report
            let part = path.with_extension("part");
            std::fs::write(&part, text).map_err(|source| io_error(&part, source))?;
            std::fs::rename(&part, path).map_err(|source| io_error(path, source))?;
        }
        Ok(files.map(|(path, _)| path))
    }
}

fn io_error(path: &Path, source: std::io::Error) -> EvalError {
    EvalError::Io { path: path.to_owned(), source }
}
