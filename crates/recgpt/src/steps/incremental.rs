//! Learns from the last days before the cut (RECGPT.md 1.2, incremental learning): what users turned to,
//! the interest behind it and why, as further training of the model that answers.

mod ground;
mod learn;
mod measure;
mod window;

use align::{
    Incremental, IncrementalConfig, IncrementalReport, Sample, WindowUser, incremental_samples,
};
use anyhow::{Context as _, Result, anyhow};
use intent::{MineInput, mine_batch};
use lm::LanguageModel;
use serde::Serialize;
use types::{InterestProfile, Timestamp};

use self::ground::Ground;
use self::learn::Training;
use self::measure::Measured;
use self::window::{Member, Window};
use super::mine::{self, LmPart};
use super::model::open;
use super::shop::{Log, Shop, interest_pool};
use super::versions::Versions;
use super::{Context, Step};
use crate::failure::Usage;
use crate::progress::Progress;
use crate::settings::LmSettings;

/// What was read, what was made of it, and what came out; `reports/parts/incremental.json`.
#[derive(Debug, Serialize)]
pub(crate) struct IncrementalPart {
    window: WindowPart,
    /// The model that named the interests.
    mined: LmPart,
    pub(crate) report: IncrementalReport,
    training: Training,
    /// The version that answers now, and the one before it.
    pub(crate) version: String,
    pub(crate) before: String,
    pub(crate) measured: Option<Measured>,
    /// Steps that the next run does again.
    pub(crate) stale: Vec<&'static str>,
}

/// The days that were read.
#[derive(Debug, Serialize)]
struct WindowPart {
    from: String,
    until: String,
    /// Events of the chosen users in these days, and the last of them.
    events: usize,
    last: Option<String>,
}

pub(crate) const PART: &str = "reports/parts/incremental.json";

/// The shop, its log and the days to learn from.
struct Source {
    shop: Shop,
    log: Log,
    window: Window,
}

/// One increment; `None` where the catalogue has no words.
///
/// # Errors
/// A [`Usage`] error where the settings name another model or the log is shorter than the days; an error
/// that tells every step's losses where nothing is left to learn.
pub(crate) fn run(
    ctx: &Context,
    days: Option<u32>,
    measured: bool,
) -> Result<Option<IncrementalPart>> {
    let Some(source) = source(ctx, days)? else { return Ok(None) };
    let Source { shop, log, window } = &source;
    let members = window::members(ctx, shop, log, window)?;
    let model = open(ctx)?;
    let (profiles, mined) = mine(ctx, &members, model.as_ref())?;
    let learnt = samples(ctx, &source, &members, &profiles)?;
    let was = measured.then(|| measure::tags(ctx, shop, model.as_ref())).transpose()?;
    drop(model);
    let (before, version, training) = learn(ctx, &learnt.samples)?;
    let is = measured.then(|| measure::tags(ctx, shop, open(ctx)?.as_ref())).transpose()?;
    let part = IncrementalPart {
        window: WindowPart::new(window, &members),
        mined,
        report: learnt.report,
        training,
        version,
        before,
        measured: was.zip(is).and_then(|tags| measure::compare(ctx, shop, log, tags)),
        stale: stale(ctx)?,
    };
    ctx.ws.write_json(PART, &part)?;
    Ok(Some(part))
}

fn source(ctx: &Context, days: Option<u32>) -> Result<Option<Source>> {
    let LmSettings::Builtin { .. } = &ctx.settings.lm else {
        let why = "--incremental trains the built-in model, and [lm] names another one";
        return Err(anyhow!(Usage(why.to_owned())));
    };
    let shop = Shop::load(ctx)?;
    if !shop.catalogue.has_words() {
        return Ok(None);
    }
    let log = shop.log(&ctx.settings)?;
    let window = Window::new(&shop, &log, days.unwrap_or(ctx.settings.incremental.days))?;
    Ok(Some(Source { shop, log, window }))
}

/// Trains and makes the result the version that answers; the versions before and now.
fn learn(ctx: &Context, samples: &[Sample]) -> Result<(String, String, Training)> {
    let mut versions = Versions::read(ctx)?;
    let before = versions.keep_current(ctx)?;
    let version = versions.next_name("incremental");
    let training = learn::train(ctx, samples, &version)?;
    versions.add_written(ctx, &version, &before)?;
    versions.choose(ctx, &version)?;
    Ok((before, version, training))
}

/// Makes a kept version the one that answers, and names the steps that the next run does again.
pub(crate) fn rollback(ctx: &Context, name: &str) -> Result<Vec<&'static str>> {
    let mut versions = Versions::read(ctx)?;
    if versions.has(name) {
        versions.keep_current(ctx)?;
    }
    versions.choose(ctx, name)?;
    stale(ctx)
}

/// The steps that read the model's answers; none where mining was done with these very weights.
fn stale(ctx: &Context) -> Result<Vec<&'static str>> {
    if ctx.ws.done(Step::Mine.name(), Step::Mine.inputs(ctx)?).is_some() {
        return Ok(Vec::new());
    }
    Ok([Step::Mine, Step::Tag, Step::Evaluate, Step::Report].map(Step::name).to_vec())
}

/// What the next run does again.
pub(crate) fn again(stale: &[&str]) -> String {
    if stale.is_empty() {
        "nothing is to be done again".to_owned()
    } else {
        format!("to be done again: {}", stale.join(", "))
    }
}

/// Interests from the digests as they were before the window.
fn mine(
    ctx: &Context,
    members: &[Member],
    model: &dyn LanguageModel,
) -> Result<(Vec<InterestProfile>, LmPart)> {
    let pool = interest_pool(ctx.settings.intent.pool.as_deref())?;
    let inputs: Vec<MineInput<'_>> =
        members.iter().map(|m| MineInput { user: &m.user, digest: &m.digest }).collect();
    let bar = Progress::new("mine");
    let options = mine::options(ctx, model)?;
    let outcomes = mine_batch(model, &inputs, &pool, &options, &|done, total| bar.set(done, total));
    bar.finish();
    let mut part = LmPart { model: model.name().to_owned(), ..LmPart::default() };
    let mut profiles = Vec::new();
    for outcome in outcomes {
        part.count(outcome.tokens, outcome.error.as_ref());
        profiles.push(outcome.profile);
    }
    part.check()?;
    Ok((profiles, part))
}

/// The four steps, from events to samples.
fn samples(
    ctx: &Context,
    Source { shop, log, window }: &Source,
    members: &[Member],
    profiles: &[InterestProfile],
) -> Result<Incremental> {
    let ground = Ground::new(shop, log, window);
    let settings = &ctx.settings.incremental;
    let config = IncrementalConfig {
        days: window.days,
        per_user: settings.per_user,
        per_category: settings.per_category,
        ..IncrementalConfig::new(window.from, ctx.settings.seed)
    };
    let events: Vec<_> = members.iter().map(|m| ground.events(&m.events)).collect();
    let users: Vec<WindowUser<'_>> = members
        .iter()
        .zip(profiles)
        .zip(&events)
        .map(|((m, profile), events)| WindowUser {
            user: &m.user,
            digest: &m.digest,
            profile,
            events,
        })
        .collect();
    let category_of = |text: &str| ground.category_of(text);
    let goes_with = |had: &str, new: &str| ground.goes_with(had, new);
    let learnt = incremental_samples(&users, &ground.shop(&category_of, &goes_with), &config)?;
    if learnt.samples.is_empty() {
        return Err(anyhow!(
            "nothing is left to learn of {} users, so the model stays as it is; try more --days\n{}",
            members.len(),
            learnt.report
        ))
        .context("incremental learning");
    }
    Ok(learnt)
}

impl WindowPart {
    fn new(window: &Window, members: &[Member]) -> Self {
        let times = || members.iter().flat_map(|m| &m.events).map(|e| e.timestamp);
        Self {
            from: window.from.rfc3339(),
            until: window.until.rfc3339(),
            events: times().count(),
            last: times().max().map(Timestamp::rfc3339),
        }
    }
}

impl std::fmt::Display for IncrementalPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (window, training) = (&self.window, &self.training);
        writeln!(f, "{} events from {} until {}", window.events, window.from, window.until)?;
        write!(f, "{}", self.report)?;
        writeln!(f, "{training}")?;
        if let Some(measured) = &self.measured {
            writeln!(f, "{measured}")?;
        }
        let (version, before) = (&self.version, &self.before);
        writeln!(f, "{version} answers now; --rollback {before} brings the one before it back")?;
        f.write_str(&again(&self.stale))
    }
}
