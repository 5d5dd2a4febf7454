//! Items that came between two imports: kept in a journal, served at once, and part of the catalogue from
//! the next import on.
//!
//! ```text
//! items_added.jsonl    one line per change: a JSON list of items; a line without its end never happened
//! items_added.json     up to which byte the last import has read it
//! items_added.lock     held by whoever writes the journal
//! ```
//!
//! No step reads the journal but the import, so what was done stays done until then.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};

use anyhow::{Context as _, Result, anyhow};
use events::Staging;
use serde::{Deserialize, Serialize};
use types::Item;

use crate::workspace::Workspace;

const JOURNAL: &str = "items_added.jsonl";
const FOLDED: &str = "items_added.json";
const LOCK: &str = "items_added.lock";

/// Adds items behind the others; they are on the disk when this returns.
pub(crate) fn append(ws: &Workspace, items: &[Item]) -> Result<()> {
    let mut line = serde_json::to_vec(items).context("writing JSON")?;
    line.push(b'\n');
    let _lock = lock(ws)?;
    let path = ws.path_for_writing(JOURNAL)?;
    let is_new = !path.exists();
    let write = || -> std::io::Result<()> {
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        let end = whole_lines(&read_from(&mut file, 0)?).len() as u64;
        file.set_len(end)?; // what a stopped program began
        file.seek(SeekFrom::Start(end))?;
        file.write_all(&line)?;
        file.sync_all()?;
        if is_new {
            File::open(ws.root())?.sync_all()?;
        }
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Items that were added behind `position`, and the position behind them; a journal that has become
/// shorter is read from its beginning.
pub(crate) fn since(ws: &Workspace, position: u64) -> Result<(Vec<Item>, u64)> {
    let path = ws.path(JOURNAL);
    let read = || -> std::io::Result<(u64, Vec<u8>)> {
        let mut file = File::open(&path)?;
        let from = if file.metadata()?.len() < position { 0 } else { position };
        Ok((from, read_from(&mut file, from)?))
    };
    let (from, bytes) = match read() {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        read => read.with_context(|| format!("reading {}", path.display()))?,
    };
    let lines = whole_lines(&bytes);
    let mut items = Vec::new();
    for (number, line) in lines.split(|&b| b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
        let more: Vec<Item> = serde_json::from_slice(line).map_err(|e| {
            let place = if from == 0 { "" } else { " behind the part that was read before" };
            anyhow!("{}: line {}{place}: {e}; remove that line", path.display(), number + 1)
        })?;
        items.extend(more);
    }
    Ok((items, from + lines.len() as u64))
}

/// Items that the catalogue does not hold yet, and the position behind them.
pub(crate) fn pending(ws: &Workspace) -> Result<(Vec<Item>, u64)> {
    let from = if ws.path(FOLDED).exists() { ws.read_json::<Folded>(FOLDED)?.position } else { 0 };
    since(ws, from)
}

/// Stages that everything up to `position` is part of the catalogue.
pub(crate) fn stage_folded(staging: &mut Staging, position: u64) -> Result<()> {
    crate::workspace::stage_json(staging, FOLDED, &Folded { position })
}

/// Stages that nothing was ever added.
pub(crate) fn stage_none(staging: &mut Staging) {
    staging.remove(JOURNAL);
    staging.remove(FOLDED);
}

/// `items_added.json`.
#[derive(Serialize, Deserialize)]
struct Folded {
    position: u64,
}

fn lock(ws: &Workspace) -> Result<File> {
    let path = ws.path_for_writing(LOCK)?;
    let open = || -> std::io::Result<File> {
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        file.lock()?;
        Ok(file)
    };
    open().with_context(|| format!("locking {}", path.display()))
}

fn read_from(file: &mut File, position: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(position))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Up to the last end of a line.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1)]
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use types::Item;

    use super::{JOURNAL, append, since};
    use crate::workspace::Workspace;

    fn item(id: &str) -> Item {
        Item { item_id: id.to_owned(), title: "a\nthing".to_owned(), ..Item::default() }
    }

    #[test]
    fn a_change_is_whole_or_never_happened() {
        let folder = tempfile::tempdir().unwrap();
        let ws = Workspace::new(folder.path());
        assert_eq!(since(&ws, 0).unwrap(), (vec![], 0));
        append(&ws, &[item("a"), item("b")]).unwrap();
        let (items, position) = since(&ws, 0).unwrap();
        assert_eq!(items, [item("a"), item("b")]);
        // a program that was stopped in the middle of a line
        let mut file = std::fs::File::options().append(true).open(ws.path(JOURNAL)).unwrap();
        file.write_all(b"[{\"item_id\": \"torn").unwrap();
        assert_eq!(since(&ws, position).unwrap(), (vec![], position));
        append(&ws, &[item("c")]).unwrap();
        let (items, end) = since(&ws, position).unwrap();
        assert_eq!((items, since(&ws, 0).unwrap().0.len()), (vec![item("c")], 3));
        // an import has taken everything, and another item came
        std::fs::remove_file(ws.path(JOURNAL)).unwrap();
        assert_eq!(since(&ws, end).unwrap(), (vec![], 0));
        append(&ws, &[item("d")]).unwrap();
        assert_eq!(since(&ws, end).unwrap().0, [item("d")]);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let ws = Workspace::new(folder.path());
        std::fs::write(ws.path(JOURNAL), "[]\n[{}]\n").unwrap();
        let error = since(&ws, 0).unwrap_err().to_string();
        assert!(
            error.contains("items_added.jsonl: line 2") && error.contains("item_id"),
            "{error}"
        );
    }
}
