//! Checks each `crates/*/Cargo.toml` against the table of crates in DESIGN.md.

use std::path::Path;

use anyhow::{Context, Result};

/// Crate and what it may depend on, in reading order.
const TABLE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("events", &["types"]),
    ("nn", &[]),
    ("lm", &["nn"]),
    ("intent", &["types", "lm"]),
    ("align", &["types", "nn", "lm", "intent"]),
    ("retrieval", &["types", "nn"]),
    ("eval", &["types"]),
    ("world", &["types"]),
    ("serve", &["types", "events", "intent", "lm", "retrieval", "eval"]),
    (
        "recgpt",
        &["types", "events", "nn", "lm", "intent", "align", "retrieval", "eval", "world", "serve"],
    ),
];

/// One line per edge that the table does not allow, and per crate that it does not know.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut folders: Vec<_> = std::fs::read_dir(root.join("crates"))
        .context("reading crates/")?
        .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    folders.sort();
    for folder in folders {
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == folder) else {
            findings.push(format!("crate {folder} is not in the table of DESIGN.md"));
            continue;
        };
        let path = root.join("crates").join(&folder).join("Cargo.toml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        findings.extend(
            disallowed(&text, allowed)?.iter().map(|d| format!("{folder} must not depend on {d}")),
        );
    }
    Ok(findings)
}

fn disallowed(manifest: &str, allowed: &[&str]) -> Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse().context("parsing a Cargo.toml")?;
    let mut found = Vec::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
        let ours = |name: &&String| TABLE.iter().any(|(known, _)| known == name);
        found.extend(table.keys().filter(ours).filter(|d| !allowed.contains(&d.as_str())).cloned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::disallowed;

    #[test]
    fn an_edge_outside_the_table_is_found_and_libraries_are_not() {
        let manifest = "[dependencies]\ntypes.workspace = true\nserde = '1'\n[dev-dependencies]\nretrieval.workspace = true\n";
        assert_eq!(disallowed(manifest, &["types"]).unwrap(), ["retrieval"]);
        assert!(disallowed(manifest, &["types", "retrieval"]).unwrap().is_empty());
    }
}
