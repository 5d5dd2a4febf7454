//! The workspace behind a running server: which release answers, what the last import made, and the items
//! that came since.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serve::{Keeper, KeeperError, Loaded};
use types::Item;

use crate::online::open_recommender;
use crate::steps::releases::{Release, current_name};
use crate::steps::{Context, added};
use crate::workspace::Workspace;

/// Keeps what a server answers from in a workspace folder.
pub(crate) struct WorkspaceKeeper {
    workspace: PathBuf,
}

impl WorkspaceKeeper {
    pub(crate) fn new(workspace: &Path) -> Self {
        Self { workspace: workspace.to_owned() }
    }

    /// The settings are read again each time: they may have changed with an import.
    fn context(&self) -> Result<Context> {
        Context::open(&self.workspace)
    }

    fn load_all(&self) -> Result<Loaded> {
        let ctx = self.context()?;
        Release::current(&ctx)?; // the first one is made here
        let mark = mark(&ctx)?;
        let (_, position) = added::pending(&ctx.ws)?; // what comes while it loads is taken again
        let recommender = open_recommender(&ctx)?;
        Ok(Loaded { recommender, mark, position })
    }
}

/// Another release or another import, another mark.
fn mark(ctx: &Context) -> Result<String> {
    let release = current_name(ctx)?.unwrap_or_default();
    Ok(format!("{release} {:016x}", ctx.ws.stamp("import")))
}

/// An error with all its causes.
fn told(error: anyhow::Error) -> KeeperError {
    format!("{error:#}").into()
}

impl Keeper for WorkspaceKeeper {
    fn mark(&self) -> Result<String, KeeperError> {
        self.context().and_then(|ctx| mark(&ctx)).map_err(told)
    }

    fn load(&self) -> Result<Loaded, KeeperError> {
        self.load_all().map_err(told)
    }

    fn keep(&self, items: &[Item]) -> Result<(), KeeperError> {
        added::append(&Workspace::new(&self.workspace), items).map_err(told)
    }

    fn kept_since(&self, position: u64) -> Result<(Vec<Item>, u64), KeeperError> {
        added::since(&Workspace::new(&self.workspace), position).map_err(told)
    }
}
