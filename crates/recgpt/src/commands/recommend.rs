//! `recgpt recommend`: one user's slate.

use anyhow::{Result, anyhow};
use comfy_table::{Table, presets};
use serve::{RecommendRequest, RequestFilter, Seen, ServeError, SessionEvent};
use types::{CandidateSource, Slate};

use crate::cli::RecommendArgs;
use crate::failure::Usage;
use crate::online::{open_reasoner, open_recommender};
use crate::progress::{print, say};
use crate::steps::Context;

pub(crate) fn run(args: &RecommendArgs, json: bool) -> Result<()> {
    let ctx = Context::open(&args.workspace)?;
    let recommender = open_recommender(&ctx)?;
    let reasoner = if args.explain { Some(open_reasoner(&ctx)?) } else { None };
    let slate = recommender.recommend(&request(args), reasoner.as_deref());
    let slate = slate.map_err(|e| match matches!(e, ServeError::Parameter { .. }) {
        true => anyhow!(Usage(e.to_string())),
        false => anyhow!(e),
    })?;
    if json {
        print(&serde_json::to_string_pretty(&slate)?);
    } else {
        show(&slate, args.explain);
    }
    Ok(())
}

fn request(args: &RecommendArgs) -> RecommendRequest {
    RecommendRequest {
        n: args.n as usize,
        beta: args.beta,
        wishes: args.text.clone(),
        session: args.session.iter().map(|id| SessionEvent::click(id)).collect(),
        exclude: args.exclude.clone(),
        seen: args.include_seen.map(Seen::included),
        filter: RequestFilter {
            categories: args.category.clone(),
            merchants: args.merchant.clone(),
            min_price: args.min_price,
            max_price: args.max_price,
        },
        per_category: args.per_category,
        per_merchant: args.per_merchant,
        new_places: args.new_places,
        explain: args.explain,
        ..RecommendRequest::new(args.user.as_deref().unwrap_or_default())
    }
}

fn show(slate: &Slate, explain: bool) {
    let signals: Vec<&str> = slate.signals.iter().map(|signal| signal.as_str()).collect();
    say(&format!("from {}, beta {}", signals.join(", "), slate.beta));
    if let Some(fallback) = slate.fallback {
        say(&format!("note: fallback {fallback:?}"));
    }
    if !slate.missing_ids.is_empty() {
        say(&format!("note: not in the catalogue: {}", slate.missing_ids.join(", ")));
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let reason = explain.then_some("reason");
    table.set_header(["item", "score", "title", "source"].into_iter().chain(reason));
    for item in &slate.items {
        let source = match &item.source {
            CandidateSource::Tag { tag, .. } => format!("tag: {tag}"),
            CandidateSource::Wish { text } => format!("wish: {text}"),
            CandidateSource::User => "user".to_owned(),
            CandidateSource::Repeat => "repeat".to_owned(),
            CandidateSource::Popular => "popular".to_owned(),
        };
        let reason = explain.then(|| item.reason.clone().unwrap_or_default());
        let cells =
            [item.item_id.clone(), format!("{:.4}", item.score), item.title.clone(), source];
        table.add_row(cells.into_iter().chain(reason));
    }
    print(&table.to_string());
}
