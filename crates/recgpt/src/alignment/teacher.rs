//! Who writes the samples of mining and tagging of stage 2: the embedded teacher, or a model behind a server.
//!
//! Nothing goes on with the embedded teacher where a server was asked for: what the server does not answer
//! ends the command, and the same command goes on with what was answered.

mod ask;
mod samples;

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use intent::Lang;
use lm::{LanguageModel, OpenAi, PromptStyle};
use serde::{Deserialize, Serialize};

use self::ask::{Asker, JudgedBy};
pub(super) use self::samples::{TaughtSamples, taught_samples};
use super::folder::{Folder, Stages};
use super::reasoning;
use crate::failure::Usage;
use crate::settings::{LmSettings, ServerSettings};
use crate::steps::model::{language_of, openai};

/// Stored calls below the alignment's folder.
const CALLS: &str = "teacher/calls";

/// Who teaches an alignment, below its folder.
const RECORD: &str = "teacher.json";

/// A teacher by name, as manifests hold it; nothing of the server's address or key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum TeacherName {
    /// The truth of simulated worlds, as far as the digest supports it.
    Embedded,
    /// A model behind a server, asked about the same users.
    Openai {
        model: String,
        style: PromptStyle,
        /// Of prompts in prose.
        language: Lang,
        /// Whether it judges its own answers before they are taught.
        judges: bool,
    },
}

/// A model behind a server that teaches.
pub(crate) struct Teacher {
    name: TeacherName,
    model: OpenAi,
    lang: Lang,
    judged_by: JudgedBy,
    folder: Folder,
}

impl Teacher {
    /// Reads a file with the keys of an `[lm]` section of kind `openai`; answers are kept in the
    /// alignment's folder `out`. Connects to nothing yet.
    ///
    /// # Errors
    /// A [`Usage`] error that names the file.
    pub(crate) fn open(path: &Path, out: &Path) -> Result<Self> {
        let server = read(path)?;
        let wrong = |e: anyhow::Error| anyhow!(Usage(format!("{}: {e:#}", path.display())));
        let lang = language_of(&server, "teacher").map_err(wrong)?;
        let folder = Folder::create(out)?;
        let model = openai(&server, "teacher", folder.path(CALLS)).map_err(wrong)?;
        // A terse judge is used by its probabilities and above a set accuracy; a server tells neither.
        let judges = server.style == PromptStyle::Prose;
        let judged_by = if judges { JudgedBy::Itself } else { JudgedBy::Nobody };
        let (style, language) = (server.style, lang);
        let name = TeacherName::Openai { model: server.model, style, language, judges };
        Ok(Self { name, model, lang, judged_by, folder })
    }

    /// The alignment's folder.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    fn asker(&self) -> Asker<'_> {
        Asker { model: &self.model, lang: self.lang, judged_by: self.judged_by }
    }

    /// What stood between the teacher and an answer, with what can be done.
    fn failed(&self, error: lm::LmError) -> anyhow::Error {
        anyhow::Error::new(error).context(format!(
            "the teacher {} gave no answer; what it has answered is kept below {}, and the same command goes \
             on from there",
            self.model.name(),
            self.folder.path(CALLS).display()
        ))
    }
}

fn read(path: &Path) -> Result<ServerSettings> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| anyhow!(Usage(format!("cannot read the teacher {}: {e}", path.display()))))?;
    let settings: LmSettings = toml::from_str(&text).map_err(|e| {
        anyhow!(Usage(format!(
            "{}: {e}; a teacher is described by the keys of an [lm] section of kind \"openai\"",
            path.display()
        )))
    })?;
    match settings {
        LmSettings::Openai(server) => Ok(server),
        LmSettings::Builtin { .. } | LmSettings::Folder { .. } => Err(anyhow!(Usage(format!(
            "{}: a teacher is of kind \"openai\"; serve a folder with `recgpt lm serve` to take it for one",
            path.display()
        )))),
    }
}

/// The name of a teacher; the embedded one's where there is none.
pub(super) fn name_of(teacher: Option<&Teacher>) -> TeacherName {
    teacher.map_or(TeacherName::Embedded, |teacher| teacher.name.clone())
}

/// Notes who teaches this alignment.
///
/// # Errors
/// A [`Usage`] error where stage 2 was begun with another teacher, or a server's samples were asked for
/// and no server is named now.
pub(super) fn bind(teacher: Option<&Teacher>, folder: &Folder, stages: &Stages) -> Result<()> {
    let (wanted, path) = (name_of(teacher), folder.path(RECORD));
    let known: TeacherName = match std::fs::read(&path) {
        Ok(json) => {
            serde_json::from_slice(&json).with_context(|| format!("reading {}", path.display()))?
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => TeacherName::Embedded,
        Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
    };
    let begun = stages.get(reasoning::NAME).is_some() || folder.path(reasoning::NAME).exists();
    if known != wanted && (begun || known != TeacherName::Embedded) {
        return Err(anyhow!(Usage(format!(
            "the alignment in {} is taught by {known}, not by {wanted}: name that teacher again, or take \
             another folder for --out",
            folder.root.display()
        ))));
    }
    folder.write_json(RECORD, &wanted)
}

impl std::fmt::Display for TeacherName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => f.write_str("the embedded teacher"),
            Self::Openai { model, .. } => write!(f, "{model} (--teacher)"),
        }
    }
}
