//! `recgpt serve`: the HTTP API over a workspace.

use anyhow::{Result, anyhow};
use serve::{Live, ServeConfig, run_until_signal};
use types::Clock;

use crate::cli::ServeArgs;
use crate::failure::Usage;
use crate::keeper::WorkspaceKeeper;
use crate::machine::SystemClock;
use crate::online::open_reasoner;
use crate::progress::say;
use crate::steps::Context;

pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    if !args.listen.ip().is_loopback() {
        return Err(anyhow!(Usage(format!(
            "{} is not a loopback address; there are no API keys yet, so put a proxy that \
             authenticates in front of 127.0.0.1",
            args.listen
        ))));
    }
    let ctx = Context::open(&args.workspace)?;
    let live = Live::open(Box::new(WorkspaceKeeper::new(&args.workspace)))?;
    let reasoner = Some(open_reasoner(&ctx)?);
    let instance = u64::try_from(SystemClock.now().0).unwrap_or_default();
    let config = ServeConfig::new(args.listen, instance);
    run_until_signal(live, reasoner, config, &|addr| {
        say(&format!("listening on http://{addr}; stop with Ctrl-C"));
    })?;
    Ok(())
}
