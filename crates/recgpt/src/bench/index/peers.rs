//! faiss, hnswlib and usearch over the same vectors, in one process of `benches/peers/index.py`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::vectors::Vectors;
use super::{Build, K, Latency, Search};

/// All peers, and the efforts that each is tried with: `ef` of a graph, `nprobe` of inverted lists.
pub(super) const ENGINES: [(&str, &[f32]); 5] = [
    ("faiss Flat", &[0.0]),
    ("faiss HNSW", GRAPH),
    ("faiss IVF SQ8", &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 128.0]),
    ("hnswlib", GRAPH),
    ("usearch f16", GRAPH),
];

const GRAPH: &[f32] = &[100.0, 120.0, 150.0, 200.0, 300.0, 400.0, 600.0, 1000.0];

/// The process, and what it is asked through.
pub(super) struct Peers {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _scratch: tempfile::TempDir,
}

impl Peers {
    pub(super) fn start(
        python: &Path,
        scripts: &Path,
        vectors: &Vectors,
        truth: &[u32],
    ) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let write = |name: &str, bytes: &[u8]| -> Result<_> {
            let path = scratch.path().join(name);
            std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
            Ok(path)
        };
        let job = json!({
            "vectors": write("vectors", bytemuck_bytes(&vectors.items).as_slice())?,
            "queries": write("queries", bytemuck_bytes(&vectors.queries).as_slice())?,
            "truth": write("truth", &truth.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())?,
            "n": vectors.len(), "dim": vectors.dim, "k": K, "threads": rayon::current_num_threads(),
        });
        let mut child = Command::new(python)
            .arg(scripts.join("index.py"))
            .env("OMP_WAIT_POLICY", "passive") // threads that wait do not slow the others down
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", python.display()))?;
        let input = child.stdin.take().context("the script has no input")?;
        let output = child.stdout.take().context("the script has no output")?;
        let mut peers = Self { child, input, output: BufReader::new(output), _scratch: scratch };
        peers.ask::<Value>(&job)?;
        Ok(peers)
    }

    pub(super) fn build(&mut self, engine: &str) -> Result<Build> {
        self.ask(&json!({ "do": "build", "engine": engine }))
    }

    pub(super) fn search(&mut self, engine: &str, effort: f32) -> Result<Search> {
        self.ask(&json!({ "do": "search", "engine": engine, "effort": effort }))
    }

    pub(super) fn single(&mut self, engine: &str, effort: f32, n: usize) -> Result<Latency> {
        self.ask(&json!({ "do": "single", "engine": engine, "effort": effort, "n": n }))
    }

    pub(super) fn insert(&mut self, engine: &str, effort: f32, n: usize) -> Result<Latency> {
        self.ask(&json!({ "do": "insert", "engine": engine, "effort": effort, "n": n }))
    }

    fn ask<T: DeserializeOwned>(&mut self, asked: &Value) -> Result<T> {
        writeln!(self.input, "{asked}")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            bail!("index.py stopped at {asked}; what it says stands above");
        }
        serde_json::from_str(&line).with_context(|| format!("reading the answer to {asked}"))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // it holds nothing that could be lost
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bytemuck_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}
