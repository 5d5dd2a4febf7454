//! The house's own checks: `cargo xtask layers` and `cargo xtask tidy`.

mod layers;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies below the root")?;
    let command = std::env::args().nth(1).unwrap_or_default();
    let findings = match command.as_str() {
        "layers" => layers::check(root)?,
        "tidy" => tidy::check(root)?,
        other => bail!("unknown command {other:?}; one of: layers, tidy"),
    };
    for finding in &findings {
        report(finding);
    }
    if !findings.is_empty() {
        bail!("{command}: {} findings", findings.len());
    }
    report(&format!("{command}: ok"));
    Ok(())
}

#[expect(clippy::print_stderr, reason = "this is a command-line tool")]
fn report(line: &str) {
    eprintln!("{line}");
}
