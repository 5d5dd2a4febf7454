//! `recgpt validate`: reads the files of a configuration into a folder that is thrown away.

use anyhow::{Context as _, Result};
use events::{import_events, import_items, import_users};

use crate::cli::RunArgs;
use crate::commands::run::settings;
use crate::progress::{Progress, print};

pub(crate) fn run(args: &RunArgs, json: bool) -> Result<()> {
    let settings = settings(args)?;
    let folder = std::env::temp_dir().join(format!("recgpt-validate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let bar = Progress::new("validate");
    let show = |done, total| bar.set(done, total);
    let result = (|| {
        let items = import_items(&settings.import, &show)?.report;
        let users = import_users(&settings.import, &show)?;
        let quarantine = folder.join("quarantine.parquet");
        let events = import_events(&settings.import, &folder.join("events"), &quarantine, &show)?;
        Ok::<_, events::EventsError>((events, items, users.users.len(), users.rejected.len()))
    })();
    bar.finish();
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    let (events, items, users, users_rejected) = result?;
    let value = serde_json::json!({
        "events": events, "items": items, "users": users, "users_rejected": users_rejected,
    });
    if json {
        print(&serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    print(&format!(
        "events: {} rows, {} accepted, {} refused, {} duplicates; {} users, {} items",
        events.rows, events.accepted, events.rejected, events.duplicates, events.users, items.items
    ));
    for (reason, rows) in events.rejected_by_reason.iter().chain(&items.rejected_by_reason) {
        print(&format!("  refused, {reason}: {rows}"));
    }
    for (reason, rows) in events.skipped.iter().chain(&items.skipped) {
        print(&format!("  left out, {reason}: {rows}"));
    }
    for warning in events.warnings.iter().chain(&items.warnings) {
        print(&format!("  warning: {warning}"));
    }
    Ok(())
}
