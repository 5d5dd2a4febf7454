//! llama.cpp and transformers on the same tokens, through the scripts in `benches/peers`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::work::Work;
use super::{NEW_TOKENS, Timing};
use crate::progress::say;

/// An interpreter, the scripts, and the model in the peers' formats.
pub(super) struct Peers {
    python: PathBuf,
    scripts: PathBuf,
    folder: PathBuf,
    scratch: tempfile::TempDir,
}

/// A peer and how it is run.
#[derive(Clone, Copy)]
pub(super) struct Job {
    pub(super) name: &'static str,
    engine: &'static str,
    /// The file for llama.cpp, or the number format of transformers.
    variant: &'static str,
}

/// All peers.
pub(super) const JOBS: [Job; 3] = [
    Job { name: "llama.cpp q8_0", engine: "llamacpp", variant: "q8_0" },
    Job { name: "llama.cpp f16", engine: "llamacpp", variant: "f16" },
    Job { name: "transformers f32", engine: "transformers", variant: "float32" },
];

impl Peers {
    /// Writes the files that llama.cpp reads.
    pub(super) fn new(python: &Path, scripts: &Path, folder: &Path) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let peers = Self {
            python: python.to_owned(),
            scripts: scripts.to_owned(),
            folder: folder.to_owned(),
            scratch,
        };
        for kind in ["q8_0", "f16"] {
            let mut command = Command::new(python);
            command.arg(scripts.join("to_gguf.py")).arg(folder);
            let done = command.arg(peers.gguf(kind)).args(["--type", kind]).output();
            let done = done.with_context(|| format!("starting {}", python.display()))?;
            if !done.status.success() {
                bail!("to_gguf.py failed: {}", String::from_utf8_lossy(&done.stderr));
            }
        }
        Ok(peers)
    }

    /// One round of a peer, at its best number of threads.
    pub(super) fn time(&self, job: Job, work: &Work, batch: usize) -> Result<Timing> {
        let llama = job.engine == "llamacpp";
        let model = if llama { self.gguf(job.variant) } else { self.folder.clone() };
        let mut asked = json!({
            "engine": job.engine, "model": model, "threads": "auto", "batch": batch,
            "prompts": &work.prompts[..batch], "new_tokens": NEW_TOKENS,
        });
        if llama {
            asked["flash_attention"] = "auto".into();
        } else {
            asked["dtype"] = job.variant.into();
        }
        let mut child = Command::new(&self.python)
            .arg(self.scripts.join("lm.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.python.display()))?;
        let mut input = child.stdin.take().context("the script has no input")?;
        input.write_all(asked.to_string().as_bytes())?;
        drop(input);
        let done = child.wait_with_output()?;
        if !done.status.success() {
            bail!("lm.py failed for {}: {}", job.name, String::from_utf8_lossy(&done.stderr));
        }
        let reply: Value = serde_json::from_slice(&done.stdout)
            .with_context(|| format!("reading the figures of {}", job.name))?;
        say(&format!("  {} chose {}", job.name, reply["settings"]));
        Ok(serde_json::from_value(reply)?)
    }

    fn gguf(&self, kind: &str) -> PathBuf {
        self.scratch.path().join(format!("{kind}.gguf"))
    }
}
