//! A tree of categories from JSON (id, parent_id, title), CSV of the same columns, or a text of
//! paths; checks for cycles, orphans and paths that occur twice.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::Value;
use types::{Category, CategoryId, Taxonomy};

use super::config::{Source, SourceConfig};
use super::input::read_to_string;
use super::rows::read_file;
use crate::EventsError;

/// One node as the file writes it.
struct Node {
    id: String,
    parent: Option<String>,
    name: String,
}

/// Reads `.json` (a list of nodes or of paths), `.csv` (with `id, parent_id, title`, or `path`), or
/// any other extension as one path per line. Nodes keep their order where parents come first.
///
/// # Errors
/// [`EventsError`] when the file is missing, empty, or holds a broken tree; the message names the
/// node.
pub fn import_taxonomy(path: &Path) -> Result<Taxonomy, EventsError> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let broken = |detail: String| EventsError::Taxonomy { path: path.to_owned(), detail };
    let nodes = match extension.as_deref() {
        Some("json") => {
            let text = read_to_string(path)?;
            if text.trim().is_empty() {
                return Err(EventsError::EmptyFile { path: path.to_owned() });
            }
            let list: Vec<Value> = serde_json::from_str(&text)
                .map_err(|e| EventsError::Json { path: path.to_owned(), detail: e.to_string() })?;
            if let Some(paths) = list.iter().map(Value::as_str).collect::<Option<Vec<_>>>() {
                return not_empty(path, Taxonomy::from_paths(paths));
            }
            let nodes = list.iter().enumerate().map(|(idx, node)| json_node(idx, node));
            nodes.collect::<Result<Vec<_>, _>>().map_err(broken)?
        }
        Some("csv" | "tsv" | "jsonl" | "parquet") => match table(path)? {
            Table::Paths(paths) => {
                return not_empty(path, Taxonomy::from_paths(paths.iter().map(String::as_str)));
            }
            Table::Nodes(nodes) => nodes,
        },
        _ => {
            let text = read_to_string(path)?;
            return not_empty(path, Taxonomy::from_paths(text.lines()));
        }
    };
    let categories = parents_first(nodes).map_err(broken)?;
    not_empty(path, Taxonomy::new(categories).map_err(|e| broken(e.to_string()))?)
}

fn not_empty(path: &Path, taxonomy: Taxonomy) -> Result<Taxonomy, EventsError> {
    if taxonomy.is_empty() {
        return Err(EventsError::EmptyFile { path: path.to_owned() });
    }
    Ok(taxonomy)
}

fn json_node(idx: usize, node: &Value) -> Result<Node, String> {
    let id = |key: &str| match &node[key] {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let name = ["title", "name"].into_iter().find_map(|key| node[key].as_str());
    let name = name.ok_or_else(|| format!("node {idx} has neither title nor name: {node}"))?;
    Ok(Node {
        id: id("id").unwrap_or_else(|| idx.to_string()),
        parent: id("parent_id").or_else(|| id("parent")),
        name: name.trim().to_owned(),
    })
}

enum Table {
    Paths(Vec<String>),
    Nodes(Vec<Node>),
}

fn table(path: &Path) -> Result<Table, EventsError> {
    let config = SourceConfig { files: vec![path.to_owned()], ..SourceConfig::default() };
    let source = Source::resolve("taxonomy", &config, SourceConfig::default())?;
    let (mut paths, mut nodes) = (Vec::new(), Vec::new());
    let bytes_read = Arc::new(AtomicU64::new(0));
    read_file(path, &source, &bytes_read, &mut |names, row| {
        let broken = |detail: String| EventsError::Taxonomy { path: path.to_owned(), detail };
        let row = row.map_err(|bad| broken(format!("line {}: {}", bad.line, bad.message)))?;
        let cell = |keys: &[&str]| {
            keys.iter().find_map(|key| names.find_name(key)).and_then(|idx| row.get(idx))
        };
        if let Some(path) = cell(&["path", "category_path"]) {
            paths.push(path.to_owned());
            return Ok(());
        }
        let name = cell(&["title", "name"])
            .ok_or_else(|| broken(format!("line {} has no title, name or path", row.line)))?;
        let id = cell(&["id"]).map_or_else(|| nodes.len().to_string(), str::to_owned);
        let parent = cell(&["parent_id", "parent"]).map(str::to_owned);
        nodes.push(Node { id, parent, name: name.to_owned() });
        Ok(())
    })?;
    Ok(if nodes.is_empty() { Table::Paths(paths) } else { Table::Nodes(nodes) })
}

/// Orders nodes so that parents come first, moving only those that must wait.
fn parents_first(nodes: Vec<Node>) -> Result<Vec<Category>, String> {
    let mut row_of: HashMap<&str, usize> = HashMap::with_capacity(nodes.len());
    for (row, node) in nodes.iter().enumerate() {
        if row_of.insert(&node.id, row).is_some() {
            return Err(format!("id {:?} occurs twice", node.id));
        }
    }
    let parent_of = |node: &Node| match &node.parent {
        None => Ok(None),
        Some(parent) => row_of.get(parent.as_str()).copied().map(Some).ok_or_else(|| {
            format!(
                "node {:?} ({:?}) names parent {parent:?}, which is not there",
                node.id, node.name
            )
        }),
    };
    let parents = nodes.iter().map(parent_of).collect::<Result<Vec<Option<usize>>, String>>()?;
    let mut place: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut categories = Vec::with_capacity(nodes.len());
    for start in 0..nodes.len() {
        let (mut chain, mut at) = (Vec::new(), Some(start));
        while let Some(row) = at.filter(|&row| place[row].is_none()) {
            if chain.len() > nodes.len() {
                let (id, name) = (&nodes[start].id, &nodes[start].name);
                return Err(format!("node {id:?} ({name:?}) lies in a circle of parents"));
            }
            chain.push(row);
            at = parents[row];
        }
        for row in chain.into_iter().rev() {
            place[row] = Some(categories.len());
            let parent = parents[row].and_then(|p| place[p]).map(CategoryId::from_idx);
            categories.push(Category { name: nodes[row].name.clone(), parent });
        }
    }
    Ok(categories)
}

#[cfg(test)]
mod tests {
    use super::import_taxonomy;
    use crate::EventsError;

    fn check(file: &str, text: &str, want: Result<&[&str], &str>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        std::fs::write(&path, text).unwrap();
        match (import_taxonomy(&path), want) {
            (Ok(got), Ok(want)) => {
                let paths: Vec<&str> =
                    (0..got.len()).map(|r| got.path(types::CategoryId::from_idx(r))).collect();
                assert_eq!(paths, want);
            }
            (Err(got), Err(want)) => assert!(got.to_string().contains(want), "{got}"),
            (got, want) => panic!("{text}: {got:?} where {want:?}"),
        }
    }

    #[test]
    fn trees_of_every_format() {
        let tree: &[&str] = &["Pets", "Pets > Dogs", "Home"];
        let json = r#"[{"id":1,"parent_id":null,"title":"Pets"},{"id":7,"parent_id":1,"title":"Dogs"},
            {"id":3,"parent_id":null,"title":"Home"}]"#;
        check("t.json", json, Ok(tree));
        let late = r#"[{"id":"d","parent_id":"p","title":"Dogs"},{"id":"p","title":"Pets"},{"id":"h","title":"Home"}]"#;
        check("t.json", late, Ok(tree));
        check(
            "t.json",
            r#"[{"name":"Pets","parent":null},{"name":"Dogs","parent":0}]"#,
            Ok(&tree[..2]),
        );
        check("t.json", r#"["Pets > Dogs"]"#, Ok(&tree[..2]));
        check("t.csv", "id,parent_id,title\n1,,Pets\n2,1,Dogs\n3,,Home\n", Ok(tree));
        check("t.csv", "path\nPets>Dogs\n", Ok(&tree[..2]));
        check("t.txt", "Pets > Dogs\n", Ok(&tree[..2]));
    }

    #[test]
    fn broken_trees_name_the_node() {
        check(
            "t.json",
            r#"[{"id":1,"parent_id":2,"title":"A"},{"id":2,"parent_id":1,"title":"B"}]"#,
            Err("circle"),
        );
        check("t.json", r#"[{"id":1,"parent_id":9,"title":"A"}]"#, Err("\"9\""));
        check("t.json", r#"[{"id":1,"title":"A"},{"id":1,"title":"B"}]"#, Err("twice"));
        check("t.json", r#"[{"id":1,"title":"A"},{"id":2,"title":"A"}]"#, Err("twice"));
        check("t.json", r#"[{"id":1}]"#, Err("neither title nor name"));
        check("t.json", "{", Err("not the JSON"));
        check("t.json", "", Err("no rows"));
        check("t.csv", "id,parent_id\n1,2\n", Err("line 2"));
        let missing = import_taxonomy(std::path::Path::new("/no/such.json"));
        assert!(matches!(missing, Err(EventsError::Io { .. })));
    }
}
