//! `recgpt demo`: makes a marketplace and runs the whole path on its raw files.

use anyhow::{Context as _, Result, anyhow};
use types::Timestamp;
use world::{World, WorldConfig};

use crate::cli::DemoArgs;
use crate::commands::summary;
use crate::failure::Usage;
use crate::progress::{Progress, say};
use crate::settings::Settings;
use crate::steps::worlds::TRAINING_SEEDS;
use crate::steps::{Context, SETTINGS, perform_all};
use crate::workspace::{Workspace, hash_inputs};

/// Names of the raw files below the workspace.
const RAW: &str = "raw";

pub(crate) fn run(args: &DemoArgs, json: bool) -> Result<()> {
    if args.seed >= TRAINING_SEEDS {
        return Err(anyhow!(Usage(format!(
            "--seed {} is a seed of the training worlds; choose one below {TRAINING_SEEDS}",
            args.seed
        ))));
    }
    let ctx = Context::create(settings(args)?)?;
    make_world(args, &ctx.ws)?;
    if args.world_only {
        ctx.write_settings()?;
        let config = args.out.join(SETTINGS);
        say(&format!("next: recgpt import --config {}", config.display()));
        return Ok(());
    }
    perform_all(&ctx)?;
    summary::print(&ctx, json)
}

fn make_world(args: &DemoArgs, ws: &Workspace) -> Result<()> {
    let config = WorldConfig {
        users: args.users,
        items: args.items,
        seed: args.seed,
        years: 3,
        holdout_days: 14,
        events_per_user: args.events_per_user,
        heavy_user_events: (args.heavy_user_events > 0).then_some(args.heavy_user_events),
        end: Timestamp::from_date(2026, 11, 1).context("a date")?,
    };
    let inputs = hash_inputs(&(env!("CARGO_PKG_VERSION"), &config), &[])?;
    if ws.done("world", inputs).is_some() {
        say("world        done before");
        return Ok(());
    }
    let start = std::time::Instant::now();
    let bar = Progress::new("world");
    let show = |done, total| bar.set(done, total);
    let world = World::generate(&config, &show);
    let raw = world.write_raw(&ws.path(RAW), &show)?;
    ws.write_json(&format!("{RAW}/ills.json"), &world.ills())?;
    bar.finish();
    let seconds = start.elapsed().as_secs_f64();
    ws.mark_done("world", inputs, seconds, None)?;
    say(&format!(
        "{:12} {seconds:6.1} s  {} events, {} users, {} items (simulated, seed {})",
        "world", raw.events, raw.users, raw.items, args.seed
    ));
    Ok(())
}

fn settings(args: &DemoArgs) -> Result<Settings> {
    let raw = args.out.join(RAW);
    let mut settings: Settings = toml::from_str(include_str!("../../../../configs/demo.toml"))
        .context("configs/demo.toml")?;
    settings.workspace.clone_from(&args.out);
    settings.seed = args.seed;
    settings.intent.users = args.intent_users;
    settings.import.events.files = vec![raw.join("events.csv")];
    settings.import.items.files = vec![raw.join("items.jsonl")];
    settings.import.users.files = vec![raw.join("users.jsonl")];
    settings.intent.pool = Some(raw.join("interests.txt"));
    settings.truth = Some(raw.join("truth.jsonl"));
    Ok(settings)
}
