//! The workspace folder: where every step reads and writes, and which steps are done.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use events::{Earlier, Staging};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::progress::say;

/// Paths of DESIGN.md ("The workspace folder") below one root.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

/// What a finished step leaves behind: a hash of all that it depended on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Hash of what the step read.
    pub(crate) inputs: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    pub(crate) peak_memory_bytes: Option<u64>,
    /// Hash of what it wrote, where that decides whether the steps after it are done again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<u64>,
}

impl Workspace {
    /// The workspace at `root`; the folder is made when something is written.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the workspace.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A path inside the workspace whose folder exists.
    pub(crate) fn path_for_writing(&self, relative: &str) -> Result<PathBuf> {
        let path = self.path(relative);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        Ok(path)
    }

    /// Writes a file whole or not at all: a temporary file, synced, then renamed.
    pub(crate) fn write(&self, relative: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path_for_writing(relative)?;
        let temporary = path.with_extension("tmp");
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    pub(crate) fn write_json<T: Serialize>(&self, relative: &str, value: &T) -> Result<PathBuf> {
        let mut bytes = serde_json::to_vec_pretty(value).context("writing JSON")?;
        bytes.push(b'\n');
        self.write(relative, &bytes)
    }

    pub(crate) fn read_json<T: for<'de> Deserialize<'de>>(&self, relative: &str) -> Result<T> {
        let path = self.path(relative);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        serde_path_to_error::deserialize(&mut reader)
            .with_context(|| format!("reading {}", path.display()))
    }

    /// Seconds that `step` took, if it was done with exactly these inputs.
    pub(crate) fn done(&self, step: &str, inputs: u64) -> Option<f64> {
        let stamp: Stamp = self.read_json(&stamp_path(step)).ok()?;
        (stamp.inputs == inputs).then_some(stamp.seconds)
    }

    /// Notes that `step` was done with these inputs.
    pub(crate) fn mark_done(
        &self,
        step: &str,
        inputs: u64,
        seconds: f64,
        peak_memory_bytes: Option<u64>,
    ) -> Result<()> {
        let stamp = Stamp { inputs, seconds, peak_memory_bytes, content: None };
        self.write_json(&stamp_path(step), &stamp).map(|_| ())
    }

    /// Seconds and largest memory of a step that was done, whatever its inputs were.
    pub(crate) fn cost(&self, step: &str) -> Option<(f64, Option<u64>)> {
        let stamp: Stamp = self.read_json(&stamp_path(step)).ok()?;
        Some((stamp.seconds, stamp.peak_memory_bytes))
    }

    /// The hash under which `step` was last done, or of what it wrote; 0 where it never was.
    pub(crate) fn stamp(&self, step: &str) -> u64 {
        self.read_stamp(step).map_or(0, |stamp| stamp.content.unwrap_or(stamp.inputs))
    }

    /// What `step` left behind; none where it never was done.
    pub(crate) fn read_stamp(&self, step: &str) -> Option<Stamp> {
        self.read_json(&stamp_path(step)).ok()
    }

    /// Starts a change of many files, and says what became of one that was stopped.
    pub(crate) fn begin(&self) -> Result<Staging> {
        let staging = Staging::begin(&self.root)?;
        match staging.earlier() {
            Earlier::Nothing => {}
            Earlier::StartedOver => {
                say("an import that was stopped had changed nothing yet; it starts over");
            }
            Earlier::Finished => say(FINISHED),
        }
        Ok(staging)
    }

    /// Finishes a change that was stopped at its last moves.
    pub(crate) fn recover(&self) -> Result<()> {
        if events::recover(&self.root)? {
            say(FINISHED);
        }
        Ok(())
    }
}

const FINISHED: &str = "a change that was stopped at its last moves is finished now";

/// Stages a JSON file.
pub(crate) fn stage_json<T: Serialize>(
    staging: &mut Staging,
    relative: &str,
    value: &T,
) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).context("writing JSON")?;
    bytes.push(b'\n');
    stage(staging, relative, &bytes)
}

/// Stages the stamp of a step.
pub(crate) fn stage_stamp(staging: &mut Staging, step: &str, stamp: &Stamp) -> Result<()> {
    stage_json(staging, &stamp_path(step), stamp)
}

/// Stages a file.
pub(crate) fn stage(staging: &mut Staging, relative: &str, bytes: &[u8]) -> Result<()> {
    let path = staging.file(relative)?;
    lm::write_whole(&path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// A hash of settings and earlier stamps: what a step depends on.
pub(crate) fn hash_inputs<T: Serialize>(settings: &T, earlier: &[u64]) -> Result<u64> {
    let mut bytes = serde_json::to_vec(settings).context("hashing settings")?;
    for stamp in earlier {
        bytes.extend_from_slice(&stamp.to_le_bytes());
    }
    Ok(xxh3_64(&bytes))
}

fn stamp_path(step: &str) -> String {
    format!("steps/{step}.json")
}

#[cfg(test)]
mod tests {
    use super::{Workspace, hash_inputs};

    #[test]
    fn a_step_is_done_only_with_the_same_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let ws = Workspace::new(folder.path());
        let (a, b) = (hash_inputs(&"a", &[1]).unwrap(), hash_inputs(&"a", &[2]).unwrap());
        assert_eq!((ws.done("mine", a), ws.stamp("mine")), (None, 0));
        ws.mark_done("mine", a, 1.5, None).unwrap();
        assert_eq!(
            (ws.done("mine", a), ws.done("mine", b), ws.stamp("mine")),
            (Some(1.5), None, a)
        );
    }

    #[test]
    fn a_broken_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let ws = Workspace::new(folder.path());
        ws.write("reports/report.json", b"{\"a\": [1, }").unwrap();
        let error = ws.read_json::<serde_json::Value>("reports/report.json").unwrap_err();
        assert!(format!("{error:#}").contains("report.json"), "{error:#}");
    }
}
