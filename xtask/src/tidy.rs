//! Checks that clippy cannot make: module docs, size budgets, unfinished code, orphan snapshots.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Lines of a file without its tests.
const MAX_LINES: usize = 600;

/// One line per finding, with file and, where there is one, line.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        walk(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut findings = Vec::new();
    let mut sources = String::new();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        findings.extend(findings_of(&name, &text));
        sources.push_str(&text);
    }
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "snap")) {
        findings.extend(orphan(file, &sources).map(|why| format!("{}: {why}", file.display())));
    }
    Ok(findings)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|n| n != "target") {
                walk(&path, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn findings_of(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push(format!("{name}:1: starts without a //! line that says what it holds"));
    }
    let is_test = name.contains("/tests/") || name.ends_with("tests.rs");
    let lines = text.lines().take_while(|l| *l != "#[cfg(test)]").count();
    if !is_test && lines > MAX_LINES {
        findings.push(format!("{name}: {lines} lines without tests; the budget is {MAX_LINES}"));
    }
    for (idx, line) in text.lines().enumerate() {
        for word in ["FIXME", "XXX:", concat!("unimplemented", "!("), "allow(dead_code"] {
            if line.contains(word) && !name.starts_with("xtask/") {
                findings.push(format!("{name}:{}: {word}", idx + 1));
            }
        }
    }
    findings
}

/// A snapshot is an orphan when no source names the test that it belongs to.
fn orphan(file: &Path, sources: &str) -> Option<String> {
    let stem = file.file_stem()?.to_string_lossy().into_owned();
    let test = stem.rsplit("__").next().unwrap_or(&stem);
    let base = test.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
    let known =
        sources.contains(&format!("fn {base}(")) || sources.contains(&format!("\"{test}\""));
    (!known).then(|| format!("no test writes this snapshot ({test})"))
}

#[cfg(test)]
mod tests {
    use super::findings_of;

    #[test]
    fn a_file_without_doc_or_over_budget_is_found() {
        assert!(findings_of("crates/a/src/a.rs", "//! Doc.\nfn a() {}\n").is_empty());
        assert_eq!(findings_of("crates/a/src/a.rs", "fn a() {}\n").len(), 1);
        let long = format!("//! Doc.\n{}", "// line\n".repeat(600));
        assert_eq!(findings_of("crates/a/src/a.rs", &long).len(), 1);
        let tests = format!("//! Doc.\n#[cfg(test)]\n{}", "// line\n".repeat(600));
        assert!(findings_of("crates/a/src/a.rs", &tests).is_empty());
    }
}
