//! Takes one person out of a workspace: the event store, every table, what was kept of prompts, the
//! reports that show them, and their row of the user tower; later imports leave them out.
//!
//! Weights that were trained on everybody keep what they learnt until they are trained again, and the
//! raw files are not ours to change: both are said.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use events::import::Forgotten;
use events::{EventStore, Staging, tables};
use retrieval::Towers;
use serde::Serialize;
use types::UserId;

use super::import::{FORGOTTEN, QUARANTINE, fingerprints};
use super::releases::{self, RELEASES};
use super::train::{TOWERS, TrainedIds, TrainedOn};
use super::{Context, Step};
use crate::failure::Usage;
use crate::workspace::{Stamp, hash_inputs, stage_json, stage_stamp};

/// What was removed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Removed {
    pub(crate) events: u64,
    /// Rows per table of the workspace.
    pub(crate) tables: Vec<(String, u64)>,
    /// Refused rows that name the user.
    pub(crate) quarantine: u64,
    /// Their row of the user tower.
    pub(crate) tower_rows: u64,
    /// Reports and kept batches of prompts that show them; made again by the next run.
    pub(crate) files: Vec<String>,
    /// What this command cannot reach.
    pub(crate) left: Vec<String>,
}

impl Removed {
    /// Whether the workspace knew the user.
    pub(crate) fn anything(&self) -> bool {
        let rows = self.tables.iter().map(|(_, n)| n).sum::<u64>();
        self.events + rows + self.quarantine + self.tower_rows > 0 || !self.files.is_empty()
    }
}

/// Removes the user everywhere at once. With `dry`, only counts.
pub(crate) fn run(ctx: &Context, user_id: &str, dry: bool) -> Result<Removed> {
    if user_id.trim().is_empty() {
        return Err(anyhow!(Usage("--user is empty".to_owned())));
    }
    let mut staging = ctx.ws.begin()?;
    let mut removed = Removed::default();
    store(ctx, user_id, &mut staging, &mut removed)?;
    for name in tables_of(ctx)? {
        table(ctx, &name, user_id, &mut staging, &mut removed)?;
    }
    quarantine(ctx, user_id, &mut staging, &mut removed)?;
    texts(ctx, user_id, &mut staging, &mut removed)?;
    removed.left = left(ctx);
    if dry {
        return Ok(removed);
    }
    let mut forgotten = Forgotten::read(&ctx.ws.path(FORGOTTEN))?;
    forgotten.add(user_id);
    forgotten.write(&staging.file(FORGOTTEN)?)?;
    staging.commit()?;
    Ok(removed)
}

/// The event store.
fn store(ctx: &Context, user_id: &str, staging: &mut Staging, removed: &mut Removed) -> Result<()> {
    let store = EventStore::open(&ctx.ws.path("events"))
        .context("no imported events; run `recgpt import` first")?;
    towers(ctx, user_id, store.user_ids()?, staging, removed)?;
    removed.events = store.stage_without(user_id, Path::new("events"), staging)?;
    if removed.events == 0 {
        return Ok(());
    }
    // What was made of the log is made again by the next run.
    let name = Step::Import.name();
    if let Some(stamp) = ctx.ws.read_stamp(name) {
        let content = hash_inputs(&(ctx.ws.stamp(name), Forgotten::hash_of(user_id)), &[])?;
        stage_stamp(staging, name, &Stamp { content: Some(content), ..stamp })?;
    }
    Ok(())
}

/// The user's row of the towers, of the workspace and of every release; those behind move up.
fn towers(
    ctx: &Context,
    user_id: &str,
    users: Vec<String>,
    staging: &mut Staging,
    removed: &mut Removed,
) -> Result<()> {
    let trained = TrainedOn::read(ctx)?;
    if let Some(ids) = trained_ids(ctx, trained.as_ref(), users)?
        && let Some(ids) = tower(ctx, user_id, (Path::new(""), ids), staging)?
    {
        removed.tower_rows = 1;
        if let Some(trained) = trained {
            let trained = TrainedOn { users: TrainedOn::hash_users(&ids.users), ..trained };
            stage_json(staging, TrainedOn::PATH, &trained)?;
        }
    }
    for name in releases::kept(ctx)? {
        let folder = Path::new(RELEASES).join(name);
        let ids = ctx.ws.read_json(&folder.join(TrainedIds::PATH).to_string_lossy())?;
        tower(ctx, user_id, (&folder, ids), staging)?;
    }
    Ok(())
}

/// Whose rows the towers of the workspace hold; none where there are none. Towers of a version that did
/// not write it down hold those of the store, or it is not known and they are refused until trained.
fn trained_ids(
    ctx: &Context,
    trained: Option<&TrainedOn>,
    users: Vec<String>,
) -> Result<Option<TrainedIds>> {
    if ctx.ws.path(TrainedIds::PATH).exists() {
        return ctx.ws.read_json(TrainedIds::PATH).map(Some);
    }
    let are_same = trained.is_some_and(|t| t.users == TrainedOn::hash_users(&users));
    Ok(are_same.then_some(TrainedIds { users, items: Vec::new() }))
}

/// The towers below `folder` without the user; none where they never knew them.
fn tower(
    ctx: &Context,
    user_id: &str,
    (folder, mut ids): (&Path, TrainedIds),
    staging: &mut Staging,
) -> Result<Option<TrainedIds>> {
    let Some(row) = ids.users.iter().position(|id| id == user_id) else { return Ok(None) };
    let folder_of_towers = folder.join(TOWERS);
    let mut towers = Towers::load(&ctx.ws.root().join(&folder_of_towers))?;
    if towers.forget_user(UserId::from_idx(row)) {
        let weights = staging.file(folder_of_towers.join("weights.safetensors"))?;
        staging.file(folder_of_towers.join("config.json"))?;
        towers.save(weights.parent().context("a file has a folder")?)?;
    }
    ids.users.remove(row);
    if !ids.items.is_empty() {
        stage_json(staging, &folder.join(TrainedIds::PATH).to_string_lossy(), &ids)?;
    }
    Ok(Some(ids))
}

/// Every Parquet table at the top of the workspace and in `intent/`.
fn tables_of(ctx: &Context) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut folders = vec![PathBuf::new(), PathBuf::from("intent")];
    folders.extend(releases::kept(ctx)?.iter().map(|n| Path::new(RELEASES).join(n).join("intent")));
    for folder in folders {
        for path in listed(&ctx.ws.root().join(folder))? {
            if path.extension().is_some_and(|e| e == "parquet") {
                names.push(relative(ctx, &path));
            }
        }
    }
    names.retain(|name| name != "quarantine.parquet");
    Ok(names)
}

fn table(
    ctx: &Context,
    name: &str,
    user_id: &str,
    staging: &mut Staging,
    removed: &mut Removed,
) -> Result<()> {
    let scratch = staging.scratch(format!("without/{name}"))?;
    let n = tables::write_without(&ctx.ws.path(name), &scratch, "user_id", &|id| id != user_id)?;
    if n > 0 {
        std::fs::rename(&scratch, staging.file(name)?).context("staging a table")?;
        removed.tables.push((name.to_owned(), n));
    }
    Ok(())
}

fn quarantine(
    ctx: &Context,
    user_id: &str,
    staging: &mut Staging,
    removed: &mut Removed,
) -> Result<()> {
    if !ctx.ws.path(QUARANTINE).exists() {
        return Ok(());
    }
    let scratch = staging.scratch(format!("without/{QUARANTINE}"))?;
    let keep = |raw: &str| !names(raw, user_id);
    removed.quarantine = tables::write_without(&ctx.ws.path(QUARANTINE), &scratch, "raw", &keep)?;
    if removed.quarantine > 0 {
        std::fs::rename(&scratch, staging.file(QUARANTINE)?).context("staging the quarantine")?;
    }
    Ok(())
}

/// Reports and kept batches that name the user are removed whole.
fn texts(ctx: &Context, user_id: &str, staging: &mut Staging, removed: &mut Removed) -> Result<()> {
    for folder in ["reports", "reports/parts", "intent/parts"] {
        for path in listed(&ctx.ws.path(folder))? {
            if path.is_dir() {
                continue;
            }
            let text =
                std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let text = String::from_utf8_lossy(&text);
            // In JSON a value is the id; an id such as 7 must not take every file with that number.
            let json = path.extension().is_some_and(|e| e == "json" || e == "jsonl");
            let quoted = serde_json::to_string(user_id)?;
            let shown = || names(&text, user_id) || names(&text, &as_html(user_id));
            let found = if json { text.contains(&quoted) } else { shown() };
            if found {
                let name = relative(ctx, &path);
                staging.remove(&name);
                removed.files.push(name);
            }
        }
    }
    Ok(())
}

/// The id as the report's template writes it.
fn as_html(id: &str) -> String {
    let escaped = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#x27;".to_owned(),
        '/' => "&#x2f;".to_owned(),
        other => other.to_string(),
    };
    id.chars().map(escaped).collect()
}

/// Whether the text has the id as a word of its own.
fn names(text: &str, id: &str) -> bool {
    text.match_indices(id).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + id.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// What still holds the person after this.
fn left(ctx: &Context) -> Vec<String> {
    let mut left = Vec::new();
    for file in fingerprints(&ctx.settings).into_iter().filter(|f| f.bytes > 0) {
        left.push(format!("raw file {} (imports leave the user out)", file.path.display()));
    }
    for (path, what) in [("models/lm", "language model"), (TOWERS, "shared weights of the towers")]
    {
        if ctx.ws.path(path).exists() {
            left.push(format!("{path}: {what}, until trained again (`recgpt run`)"));
        }
    }
    left
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut paths = entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

fn relative(ctx: &Context, path: &Path) -> String {
    path.strip_prefix(ctx.ws.root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn an_id_is_found_as_a_word() {
        for (text, id, want) in [
            ("a,u1,b", "u1", true),
            ("a,u12,b", "u1", false),
            ("<td>用户</td>", "用户", true),
            ("x 17 y", "7", false),
            ("u1", "u1", true),
            ("", "u1", false),
        ] {
            assert_eq!(names(text, id), want, "{text} {id}");
        }
    }
}
