//! The table and the picture in a README, between two marks.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::failure::Usage;
use crate::workspace::Workspace;

const BEGIN: &str = "<!-- suite -->";
const END: &str = "<!-- /suite -->";

/// Replaces what stands between the marks of the file.
pub(super) fn write(path: &Path, table: &str, picture: &Path) -> Result<()> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let whole = std::path::absolute(path)?;
    let folder = whole.parent().unwrap_or(Path::new("/"));
    let picture = relative(&std::path::absolute(picture)?, folder);
    let picture = picture.to_string_lossy().replace('\\', "/");
    let block = format!("{table}\n![Recall of all models on all sets, with intervals]({picture})");
    let Some(text) = replaced(&text, &block) else {
        bail!(Usage(format!("{}: put {BEGIN} and {END} where the table goes", path.display())));
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Workspace::new(folder).write(&name, text.as_bytes())?;
    Ok(())
}

fn replaced(text: &str, block: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{block}\n{END}{after}"))
}

/// `path` as seen from `folder`, both absolute.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    let (path, folder): (Vec<Component<'_>>, Vec<_>) =
        (path.components().collect(), folder.components().collect());
    let common = path.iter().zip(&folder).take_while(|(a, b)| a == b).count();
    let up = folder[common..].iter().map(|_| Component::ParentDir);
    up.chain(path[common..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{relative, replaced};

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(replaced(text, "new").as_deref(), expect, "{text}");
        };
        check(
            "a\n<!-- suite -->\nold\n<!-- /suite -->\nb",
            Some("a\n<!-- suite -->\nnew\n<!-- /suite -->\nb"),
        );
        check("<!-- suite --><!-- /suite -->", Some("<!-- suite -->\nnew\n<!-- /suite -->"));
        check("a <!-- suite --> b", None);
        check("<!-- /suite --> <!-- suite -->", None);
    }

    #[test]
    fn a_picture_is_named_from_where_the_readme_lies() {
        let check = |path: &str, folder: &str, expect: &str| {
            assert_eq!(relative(Path::new(path), Path::new(folder)), Path::new(expect));
        };
        check("/p/docs/results/suite.svg", "/p", "docs/results/suite.svg");
        check("/p/out/suite.svg", "/p/docs", "../out/suite.svg");
    }
}
