//! Puts what every step left behind into `report.json` and `report.html`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use eval::{
    BreachCount, CompressionSection, DigestFacts, EvaluationSection, ExtraSection, Floor,
    HeavyUser, InputSection, IntentSection, IssueCount, MappedType, RejectReason, Report, RunInfo,
    ShownItem, ShownUser, SourceFile, StepTime, Timings, Trace, TraceStep, TrainingCurve,
};
use events::tables::{self, DigestCounts, UserInterests, UserTags};
use intent::ParseIssue;
use retrieval::TrainCurve;
use serde_json::Value;
use types::{CandidateSource, Digest, Slate};

use super::evaluate::{EvaluatePart, FusionRow};
use super::import::ImportPart;
use super::mine::{INTERESTS, LmPart, PROMPT_DIGESTS};
use super::shop::Shop;
use super::tag::TAGS;
use super::{Context, Step};
use crate::online::{open_reasoner, open_recommender};
use crate::settings::SplitKind;

/// Users shown whole.
const SHOWN: usize = 4;

pub(crate) fn run(ctx: &Context) -> Result<String> {
    let shop = Shop::load(ctx)?;
    let run = RunInfo {
        command: format!("recgpt on {}", ctx.settings.name),
        data_set: ctx.settings.name.clone(),
        seed: ctx.settings.seed,
        versions: vec![("recgpt".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
    };
    let mut report = Report::new(&format!("RecGPT on {}", ctx.settings.name), run);
    report.input = Some(input(ctx, &shop)?);
    report.compression = Some(compression(ctx)?);
    let (intent, trace) = intent(ctx, &shop)?;
    report.intent = Some(intent);
    report.trace = trace;
    report.training = curves(ctx)?;
    let part: EvaluatePart =
        ctx.ws.read_json(super::evaluate::PART).context("run `recgpt evaluate` first")?;
    for (name, value) in &part.new_category_recall_at_30 {
        report.figures.insert(format!("{name}.new_category_recall@30"), *value);
    }
    if !part.fusion.is_empty() {
        report.extra.push(fusion_section(&part.fusion, &mut report.figures));
    }
    report.evaluation = Some(evaluation(ctx, part));
    if let Ok(ills) = ctx.ws.read_json::<BTreeMap<String, Value>>("raw/ills.json") {
        report.extra.push(ills_section(&ills, &mut report.figures));
    }
    report.timings = timings(ctx);
    report.next_commands = next_commands(ctx, &shop);
    let [json, html] = report.write(&ctx.ws.path("reports"))?;
    Ok(format!("{} and {}", html.display(), json.display()))
}

/// What to try next, with a user of this workspace.
pub(crate) fn next_commands(ctx: &Context, shop: &Shop) -> Vec<String> {
    let tags = tables::read_tags(&ctx.ws.path(TAGS)).unwrap_or_default();
    let user = tags.first().map(|u| u.user_id.clone()).or_else(|| shop.user_ids.first().cloned());
    let user = user.unwrap_or_default();
    let ws = ctx.ws.root().display();
    vec![
        format!("recgpt recommend --workspace {ws} --user {user} --explain"),
        format!("recgpt serve --workspace {ws}"),
    ]
}

fn input(ctx: &Context, shop: &Shop) -> Result<InputSection> {
    let part: ImportPart = ctx.ws.read_json(super::import::PART)?;
    let file = |kind: &str, paths: &[std::path::PathBuf], rows: u64, rejected: u64| SourceFile {
        file: paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "),
        kind: kind.to_owned(),
        rows,
        rejected,
    };
    let import = &ctx.settings.import;
    let e = &part.events;
    Ok(InputSection {
        files: vec![
            file("events", &import.events.files, e.rows, e.rejected),
            file("items", &import.items.files, part.items.rows, part.items.rejected),
        ],
        events: e.accepted,
        rejected: e.rejected,
        users: e.users,
        items: shop.catalogue.len() as u64,
        categories: part.categories as u64,
        first: e.first.map(types::Timestamp::rfc3339),
        last: e.last.map(types::Timestamp::rfc3339),
        cut: Some(shop.cuts(&ctx.settings)?.now.rfc3339()),
        event_types: e
            .event_types
            .iter()
            .map(|(t, rows)| MappedType {
                raw: None,
                event_type: t.as_str().to_owned(),
                rows: *rows,
            })
            .collect(),
        rejects: e
            .rejected_by_reason
            .iter()
            .chain(&e.skipped)
            .map(|(reason, rows)| RejectReason {
                reason: reason.clone(),
                rows: *rows,
                example: String::new(),
            })
            .collect(),
    })
}

fn compression(ctx: &Context) -> Result<CompressionSection> {
    let path = ctx.ws.path(super::digest::DIGESTS);
    let counts = tables::read_digest_counts(&path)?;
    let mut section = compression_of(&counts, ctx);
    if let Some(longest) = counts.iter().max_by_key(|d| d.n_events) {
        let digest = tables::find_digest(&path, &longest.user_id)?;
        section.heavy_user = digest.map(|d| HeavyUser {
            user_id: d.user_id.clone(),
            n_events: d.n_events,
            tokens: d.tokens,
            excerpt: excerpt(&d, 12),
        });
    }
    Ok(section)
}

/// How far these digests were compressed.
pub(crate) fn compression_of(counts: &[DigestCounts], ctx: &Context) -> CompressionSection {
    let facts = |d: &DigestCounts| DigestFacts {
        tokens: d.tokens,
        n_events: d.n_events,
        dropped_behaviour: d.n_dropped_behaviour,
        dropped_budget: d.n_dropped_budget,
    };
    let facts: Vec<DigestFacts> = counts.iter().map(facts).collect();
    CompressionSection::new(&facts, ctx.settings.digest.budget as u64)
}

fn excerpt(digest: &Digest, n: usize) -> String {
    digest.lines.iter().take(n).map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn intent(ctx: &Context, shop: &Shop) -> Result<(IntentSection, Option<Trace>)> {
    let mined: LmPart = ctx.ws.read_json(super::mine::PART)?;
    if mined.absent_because.is_some() {
        let section =
            IntentSection { absent_because: mined.absent_because, ..IntentSection::default() };
        return Ok((section, None));
    }
    let interests = tables::read_interests(&ctx.ws.path(INTERESTS))?;
    let tags = tables::read_tags(&ctx.ws.path(TAGS))?;
    let digests = tables::read_digests(&ctx.ws.path(PROMPT_DIGESTS))?;
    let part: EvaluatePart = ctx.ws.read_json(super::evaluate::PART)?;
    let mut section = counts(&interests, &tags);
    section.model = mined.model;
    section.truth = part.truth;
    section.hit_rate = part.hit_rate;
    let recommender = open_recommender(ctx)?;
    let reasoner = open_reasoner(ctx)?;
    let mut trace = None;
    let step = (interests.len() / SHOWN).max(1);
    for row in (0..interests.len()).step_by(step).take(SHOWN) {
        let (mined, tagged, digest) = (&interests[row], &tags[row], &digests[row]);
        let request = serve::RecommendRequest {
            n: 10,
            explain: true,
            ..serve::RecommendRequest::new(&tagged.user_id)
        };
        let slate = recommender.recommend(&request, Some(reasoner.as_ref()))?;
        trace = trace.or_else(|| trace_of(mined, tagged, digest, &slate));
        section.users.push(shown(shop, mined, tagged, digest, &slate));
    }
    Ok((section, trace))
}

fn counts(interests: &[UserInterests], tags: &[UserTags]) -> IntentSection {
    let mut issues: BTreeMap<String, IssueCount> = BTreeMap::new();
    let all = interests.iter().flat_map(|u| &u.issues).chain(tags.iter().flat_map(|u| &u.issues));
    let mut n_issues = 0;
    for issue in all.filter_map(|text| serde_json::from_str::<ParseIssue>(text).ok()) {
        n_issues += 1;
        let kind = serde_json::to_value(issue.kind).ok();
        let kind = kind.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let entry =
            issues.entry(kind.clone()).or_insert(IssueCount { kind, n: 0, example: issue.text });
        entry.n += 1;
    }
    let mut breaches: BTreeMap<&str, BreachCount> = BTreeMap::new();
    for breach in tags.iter().flat_map(|u| &u.breaches) {
        let constraint = breach.constraint.as_str();
        let example = format!("{}: {}", breach.tag, breach.detail);
        let first = BreachCount { constraint: constraint.to_owned(), n: 0, example };
        breaches.entry(constraint).or_insert(first).n += 1;
    }
    let n = interests.len().max(1) as f64;
    let n_interests: usize = interests.iter().map(|u| u.profile.interests.len()).sum();
    let n_tags: usize = tags.iter().map(|u| u.tags.len()).sum();
    let n_categories: usize = tags
        .iter()
        .map(|u| u.tags.iter().filter_map(|t| t.category).collect::<BTreeSet<_>>().len())
        .sum();
    IntentSection {
        n_users: interests.len() as u64,
        n_users_without: interests.iter().filter(|u| u.profile.interests.is_empty()).count() as u64,
        interests_per_user: n_interests as f64 / n,
        tags_per_user: n_tags as f64 / n,
        categories_per_user: n_categories as f64 / n,
        parse_issue_rate: f64::from(n_issues)
            / (f64::from(n_issues) + (n_interests + n_tags) as f64).max(1.0),
        parse_issues: issues.into_values().collect(),
        breaches: breaches.into_values().collect(),
        ..IntentSection::default()
    }
}

fn shown(
    shop: &Shop,
    mined: &UserInterests,
    tagged: &UserTags,
    digest: &Digest,
    slate: &Slate,
) -> ShownUser {
    let user = shop.user(&tagged.user_id);
    let attributes: Vec<String> =
        user.attributes.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    ShownUser {
        user_id: tagged.user_id.clone(),
        attributes: attributes.join(", "),
        digest: excerpt(digest, 10),
        digest_lines: digest.lines.len() as u64,
        interests: mined.profile.interests.clone(),
        true_interests: Vec::new(),
        tags: tagged.tags.clone(),
        slate: slate
            .items
            .iter()
            .map(|item| ShownItem {
                title: item.title.clone(),
                category: item.category.clone(),
                tag: match &item.source {
                    CandidateSource::Tag { tag, .. } => Some(tag.clone()),
                    CandidateSource::User
                    | CandidateSource::Repeat
                    | CandidateSource::Wish { .. }
                    | CandidateSource::Popular => None,
                },
                reason: item.reason.clone(),
                hit: false,
            })
            .collect(),
    }
}

/// From a line of behaviour to the reason of an item; none where no tag brought an item.
fn trace_of(
    mined: &UserInterests,
    tagged: &UserTags,
    digest: &Digest,
    slate: &Slate,
) -> Option<Trace> {
    let (item, tag, text) = slate.items.iter().find_map(|item| match &item.source {
        CandidateSource::Tag { tag, interest } => Some((item, tag, interest)),
        CandidateSource::User
        | CandidateSource::Repeat
        | CandidateSource::Wish { .. }
        | CandidateSource::Popular => None,
    })?;
    let interest = mined.profile.interests.iter().find(|i| i.text == *text)?;
    let line =
        digest.lines.iter().find(|l| l.evidence.iter().any(|e| interest.evidence.contains(e)))?;
    let tag = tagged.tags.iter().find(|t| t.text == *tag)?;
    let step = |stage: &str, text: &str, detail: String| TraceStep {
        stage: stage.to_owned(),
        text: text.to_owned(),
        detail,
    };
    let evidence = interest.evidence.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
    Some(Trace {
        user_id: tagged.user_id.clone(),
        steps: vec![
            step("behaviour", &line.to_string(), format!("{} events", line.n_events)),
            step("interest", &interest.text, format!("{} (events {evidence})", interest.reason)),
            step("tag", &tag.text, format!("because: {}", tag.rationale)),
            step("item", &item.title, format!("{}, score {:.3}", item.category, item.score)),
            step("reason", item.reason.as_deref().unwrap_or("-"), String::new()),
        ],
    })
}

fn curves(ctx: &Context) -> Result<Vec<TrainingCurve>> {
    let curve: TrainCurve = ctx.ws.read_json(super::train::PART)?;
    let points = |of: fn(&retrieval::EpochPoint) -> f64| {
        curve.epochs.iter().map(|e| (e.epoch as u64, of(e))).collect()
    };
    let mut curves = vec![
        TrainingCurve {
            name: "towers, validation recall@20".to_owned(),
            unit: "epoch".to_owned(),
            points: points(|e| e.validation_recall_at_20),
        },
        TrainingCurve {
            name: "towers, loss of user to item".to_owned(),
            unit: "epoch".to_owned(),
            points: points(|e| e.loss_col),
        },
    ];
    if let Ok(fit) = ctx.ws.read_json::<Value>(super::fit::PART) {
        let losses = fit["losses"].as_array().cloned().unwrap_or_default();
        let is_refused = fit["weights"].as_u64() == Some(0);
        let fate = if is_refused { " (not used: no better than as shipped)" } else { "" };
        curves.push(TrainingCurve {
            name: format!("language model, fit to the shop{fate}"),
            unit: "step".to_owned(),
            points: (1u64..).zip(losses.iter().filter_map(Value::as_f64)).collect(),
        });
    }
    Ok(curves)
}

fn evaluation(ctx: &Context, part: EvaluatePart) -> EvaluationSection {
    let split = &ctx.settings.split;
    let held_out = match split.kind {
        SplitKind::ByTime => format!("The last {} days", split.days),
        SplitKind::LeaveOneOut => "The last act of every user".to_owned(),
    };
    let seen = match split.exclude_seen {
        true => "items seen before are left out",
        false => "repeats count (for new items alone, items seen before are left out)",
    };
    let floors = ctx.settings.floors.iter().map(|f| Floor {
        name: f.system.clone(),
        metric: f.metric.clone(),
        value: f.value,
        source: "configuration".to_owned(),
    });
    EvaluationSection {
        protocol: format!("{held_out} held out, full ranking over all items, {seen}."),
        main: part.main,
        segments: part.segments,
        floors: floors.collect(),
        sweep: part.sweep,
    }
}

/// One table of the ways to fuse, for users with tags.
fn fusion_section(rows: &[FusionRow], figures: &mut BTreeMap<String, f64>) -> ExtraSection {
    let line = |row: &FusionRow| {
        let value = format!(
            "{:.4} {:.4} {:.3} {:.3} {:.3}",
            row.recall_at_10,
            row.new_category_hit_rate_at_10,
            row.tail_share_at_10,
            row.gini_at_10,
            row.category_diversity_at_10
        );
        let in_use = if row.in_use { " (in use)" } else { "" };
        (format!("{}{in_use}", row.name), value)
    };
    for row in rows {
        figures.insert(format!("fusion.{}.recall@10", row.name), row.recall_at_10);
    }
    ExtraSection {
        title: "Ways to fuse user and tags".to_owned(),
        text: "For users with tags: recall@10, new-category hit rate@10, tail share@10, Gini@10, category \
               diversity@10."
            .to_owned(),
        rows: rows.iter().map(line).collect(),
    }
}

fn ills_section(
    ills: &BTreeMap<String, Value>,
    figures: &mut BTreeMap<String, f64>,
) -> ExtraSection {
    let mut rows = Vec::new();
    for (name, value) in ills {
        if let Some(number) = value.as_f64() {
            figures.insert(format!("world.{name}"), number);
            rows.push((name.replace('_', " "), format!("{number:.4}")));
        }
    }
    ExtraSection {
        title: "The two ills of the simulated marketplace".to_owned(),
        text: "What a feed that fits the log does in this simulated world: it narrows to what was \
               clicked, and exposure concentrates."
            .to_owned(),
        rows,
    }
}

fn timings(ctx: &Context) -> Timings {
    let mut steps = Vec::new();
    let mut peak = None;
    for step in Step::ALL.iter().filter(|s| **s != Step::Report) {
        if let Some((seconds, memory)) = ctx.ws.cost(step.name()) {
            steps.push(StepTime { step: step.name().to_owned(), seconds });
            peak = peak.max(memory);
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Timings { steps, peak_memory_bytes: peak, machine: format!("{threads} threads") }
}
