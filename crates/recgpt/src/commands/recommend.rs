//! `recgpt recommend`: one user's slate.

use anyhow::{Result, anyhow};
use comfy_table::{Table, presets};
use serve::RecommendRequest;
use types::{CandidateSource, Slate};

use crate::cli::RecommendArgs;
use crate::failure::Usage;
use crate::online::{open_reasoner, open_recommender};
use crate::progress::{print, say};
use crate::steps::Context;

pub(crate) fn run(args: &RecommendArgs, json: bool) -> Result<()> {
    if args.beta.is_some_and(|beta| !(0.0..=1.0).contains(&beta)) {
        return Err(anyhow!(Usage("--beta is a number from 0 to 1".to_owned())));
    }
    let ctx = Context::open(&args.workspace)?;
    let recommender = open_recommender(&ctx)?;
    let reasoner = if args.explain { Some(open_reasoner(&ctx)?) } else { None };
    let request = RecommendRequest {
        n: args.n as usize,
        beta: args.beta,
        exclude: args.exclude.clone(),
        explain: args.explain,
        ..RecommendRequest::new(&args.user)
    };
    let slate = recommender.recommend(&request, reasoner.as_deref())?;
    if json {
        print(&serde_json::to_string_pretty(&slate)?);
    } else {
        show(&slate, args.explain);
    }
    Ok(())
}

fn show(slate: &Slate, explain: bool) {
    if let Some(fallback) = slate.fallback {
        say(&format!("note: fallback {fallback:?}, beta {}", slate.beta));
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let reason = explain.then_some("reason");
    table.set_header(["item", "score", "title", "source"].into_iter().chain(reason));
    for item in &slate.items {
        let source = match &item.source {
            CandidateSource::Tag { tag, .. } => format!("tag: {tag}"),
            CandidateSource::User => "user".to_owned(),
            CandidateSource::Popular => "popular".to_owned(),
        };
        let reason = explain.then(|| item.reason.clone().unwrap_or_default());
        let cells =
            [item.item_id.clone(), format!("{:.4}", item.score), item.title.clone(), source];
        table.add_row(cells.into_iter().chain(reason));
    }
    print(&table.to_string());
}
