//! `recgpt digest`: all users, one user explained, or the report on how far histories were compressed.

use anyhow::{Result, anyhow};
use comfy_table::Table;
use eval::CompressionSection;
use events::tables::{self, DigestCounts};
use events::{Digester, ExplainedLine, Explanation};
use serde_json::{Map, Value, json};
use types::DigestTokens;

use crate::cli::DigestArgs;
use crate::commands::step;
use crate::failure::Usage;
use crate::progress::print;
use crate::steps::digest::{DIGESTS, cut_of, digest_config};
use crate::steps::model::token_counter;
use crate::steps::report::compression_of;
use crate::steps::shop::Shop;
use crate::steps::{Context, Step, perform};

/// Windows of common models.
const WINDOWS: [(&str, usize); 3] = [("8k", 8 << 10), ("32k", 32 << 10), ("128k", 128 << 10)];
const LONGEST: usize = 5;

pub(crate) fn run(args: &DigestArgs, json: bool) -> Result<()> {
    let ctx = Context::open(&args.workspace.workspace)?;
    if let Some(user) = &args.user {
        return one(&ctx, user, args, json);
    }
    if args.report {
        perform(&ctx, Step::Digest, args.workspace.force)?;
        return report(&ctx, json);
    }
    step::run(&args.workspace, Step::Digest, json)
}

fn one(ctx: &Context, user: &str, args: &DigestArgs, json: bool) -> Result<()> {
    let shop = Shop::load(ctx)?;
    let cuts = shop.cuts(&ctx.settings)?;
    let history = shop.store.history(user)?;
    let history = history.ok_or_else(|| anyhow!(Usage(format!("no events of user {user:?}"))))?;
    let (cores, count) = (shop.cores(), token_counter(ctx)?.1);
    let budget = args.budget.unwrap_or(ctx.settings.digest.budget);
    let config = digest_config(ctx, cuts.now, budget);
    let digester = Digester::new(&cores, &shop.catalogue, config, &*count).counting_parts();
    let explained = digester.explain(&history, cut_of(&shop, &cuts, user))?;
    match (json, args.explain) {
        (true, true) => print(&serde_json::to_string_pretty(&explanation_json(&explained))?),
        (true, false) => print(&serde_json::to_string_pretty(&explained.digest)?),
        (false, true) => print_explanation(&explained, budget),
        (false, false) => print(&explained.digest.text()),
    }
    Ok(())
}

fn explanation_json(e: &Explanation) -> Value {
    let line = |l: &ExplainedLine| json!({"line": l.text, "tokens": l.tokens, "events": l.n_events, "score": l.score});
    json!({
        "user_id": e.digest.user_id, "now": e.digest.now, "tokens": e.digest.tokens, "time": e.time,
        "events": e.events.iter().map(|(kind, read, kept)| json!({"event_type": kind, "read": read, "kept": kept})).collect::<Vec<_>>(),
        "returned_events": e.n_returned, "dropped_by_behaviour": e.digest.n_dropped_behaviour,
        "dropped_by_budget": e.digest.n_dropped_budget,
        "kept": e.kept.iter().map(line).collect::<Vec<_>>(),
        "dropped": e.dropped.iter().map(line).collect::<Vec<_>>(),
    })
}

fn print_explanation(e: &Explanation, budget: usize) {
    let t = e.digest.tokens;
    print(&format!(
        "{} up to {}: {} events, {} tokens raw, {} with core words",
        e.digest.user_id,
        e.digest.now.rfc3339(),
        e.digest.n_events,
        t.raw,
        t.item
    ));
    print(&format!("behaviour: {} tokens", t.behaviour));
    for (kind, read, kept) in &e.events {
        print(&format!(
            "  {:12} {read:>8} read, {kept:>8} kept, {:>8} dropped",
            kind.as_str(),
            read - kept
        ));
    }
    if e.n_returned > 0 {
        print(&format!("  {} of them because the item went back", e.n_returned));
    }
    print(&format!(
        "sequence: {} tokens; budget of {budget}: {} tokens, times as {}, {} events left out",
        t.sequence, t.budget, e.time, e.digest.n_dropped_budget
    ));
    for (name, lines) in [("kept", &e.kept), ("dropped", &e.dropped)] {
        print(&format!("{name}: {} lines (tokens, events, score)", lines.len()));
        for line in lines {
            print(&format!(
                "{:>6} {:>6} {:>8.2}  {}",
                line.tokens, line.n_events, line.score, line.text
            ));
        }
    }
}

fn report(ctx: &Context, json: bool) -> Result<()> {
    let digests = tables::read_digest_counts(&ctx.ws.path(DIGESTS))?;
    let section = compression_of(&digests, ctx);
    let rows = rows(&digests);
    let figures = figures(&section, &digests);
    let cost = ctx.ws.cost(Step::Digest.name());
    let n_events: u64 = digests.iter().map(|d| d.n_events).sum();
    let mut longest: Vec<&DigestCounts> = digests.iter().collect();
    longest.sort_by(|a, b| b.tokens.raw.cmp(&a.tokens.raw).then_with(|| a.user_id.cmp(&b.user_id)));
    longest.truncate(LONGEST);
    if json {
        let longest: Vec<Value> = longest
            .iter()
            .map(|d| json!({"user_id": d.user_id, "events": d.n_events, "tokens": d.tokens}))
            .collect();
        let result = json!({
            "figures": figures, "levels": section.levels, "rows": Map::from_iter(rows), "events": n_events, "longest": longest,
            "seconds": cost.map(|c| c.0), "peak_bytes": cost.and_then(|c| c.1),
        });
        print(&serde_json::to_string_pretty(&result)?);
        return Ok(());
    }
    print(&level_table(&section, &rows));
    print(&window_table(&figures));
    print("longest histories (events; tokens raw, behaviour, sequence, budget)");
    for d in longest {
        let t = d.tokens;
        print(&format!(
            "  {:20} {:>9}; {:>9} {:>9} {:>9} {:>9}",
            d.user_id, d.n_events, t.raw, t.behaviour, t.sequence, t.budget
        ));
    }
    if let Some((seconds, peak)) = cost {
        let peak = peak.map_or_else(String::new, |b| format!(", {} MB at most", b / 1_000_000));
        print(&format!(
            "{} users, {n_events} events, {:.0} a user; {seconds:.1} s{peak}",
            digests.len(),
            n_events as f64 / digests.len().max(1) as f64
        ));
    }
    Ok(())
}

fn figures(section: &CompressionSection, digests: &[DigestCounts]) -> Map<String, Value> {
    let mut figures = Map::new();
    let mut put = |name: String, value: f64| {
        figures.insert(name, json!(value));
    };
    let n = digests.len().max(1) as f64;
    put("digest.users".to_owned(), digests.len() as f64);
    put("digest.events_max".to_owned(), section.events_max as f64);
    put(
        "digest.events_mean".to_owned(),
        digests.iter().map(|d| d.n_events as f64).sum::<f64>() / n,
    );
    for level in section.levels.iter().filter(|level| level.level != "raw") {
        put(format!("digest.reduction_{}", level.level), level.reduction);
    }
    for (name, window) in WINDOWS {
        let share = |of: fn(&DigestTokens) -> usize| {
            digests.iter().filter(|d| of(&d.tokens) <= window).count() as f64 / n
        };
        put(format!("digest.within_{name}_raw"), share(|t| t.raw));
        put(format!("digest.within_{name}_sequence"), share(|t| t.sequence));
        put(format!("digest.within_{name}"), share(|t| t.budget));
    }
    if let (Some(raw), Some(last)) = (section.levels.first(), section.levels.last()) {
        put("digest.tokens_raw_mean".to_owned(), raw.mean);
        put("digest.tokens_mean".to_owned(), last.mean);
        put("digest.tokens_max".to_owned(), last.max as f64);
    }
    figures
}

/// Rows that each level leaves, of all users: events, then lines.
fn rows(digests: &[DigestCounts]) -> [(String, Value); 5] {
    let sum = |of: fn(&DigestCounts) -> u64| json!(digests.iter().map(of).sum::<u64>());
    [
        ("raw", sum(|d| d.n_events)),
        ("item", sum(|d| d.n_events)),
        ("behaviour", sum(|d| d.n_events - d.n_dropped_behaviour)),
        ("sequence", sum(|d| d.n_lines_sequence)),
        ("budget", sum(|d| d.n_lines)),
    ]
    .map(|(level, rows)| (level.to_owned(), rows))
}

fn level_table(section: &CompressionSection, rows: &[(String, Value)]) -> String {
    let mut table = Table::new();
    table.set_header(["level", "rows", "tokens, mean", "median", "longest", "fewer than before"]);
    for level in &section.levels {
        let of_level = rows.iter().find(|(name, _)| *name == level.level);
        table.add_row([
            level.level.clone(),
            of_level.map_or_else(String::new, |(_, rows)| rows.to_string()),
            format!("{:.0}", level.mean),
            format!("{:.0}", level.median),
            level.max.to_string(),
            format!("{:.1}%", 100.0 * level.reduction),
        ]);
    }
    table.to_string()
}

fn window_table(figures: &Map<String, Value>) -> String {
    let mut table = Table::new();
    table.set_header(["users within", "raw", "grouped", "budget"]);
    for (name, _) in WINDOWS {
        let share = |suffix: &str| {
            let value = figures[&format!("digest.within_{name}{suffix}")].as_f64();
            format!("{:.1}%", 100.0 * value.unwrap_or(f64::NAN))
        };
        table.add_row([name.to_uppercase(), share("_raw"), share("_sequence"), share("")]);
    }
    table.to_string()
}
