//! The sets of the suite: which log may be learned from, and who is asked what.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use types::{Catalogue, Interaction, Item, ItemId, Tag, Taxonomy, Timestamp, UserId};

use super::made::Made;
use crate::failure::Usage;
use crate::settings::Settings;
use crate::steps::shop::Shop;
use crate::steps::{Context, Step, perform};

/// A set by name; `uci`, `taobao` and `world` have two views each.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub(crate) enum SetName {
    /// Amazon Beauty 2014, leave-one-out.
    Beauty,
    /// Amazon Office Products 2014, leave-one-out.
    Office,
    /// Amazon Video Games 2014, leave-one-out.
    VideoGames,
    /// UCI Online Retail, the next basket.
    Uci,
    /// Taobao user behaviour, the categories of the next day.
    Taobao,
    /// A simulated marketplace, the next two weeks.
    World,
}

impl SetName {
    pub(crate) const ALL: [Self; 6] =
        [Self::Office, Self::Uci, Self::Taobao, Self::World, Self::Beauty, Self::VideoGames];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Beauty => "beauty",
            Self::Office => "office",
            Self::VideoGames => "video_games",
            Self::Uci => "uci",
            Self::Taobao => "taobao",
            Self::World => "world",
        }
    }
}

/// Who is asked, and what there is to find.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) user: UserId,
    /// In time order, all before the truth.
    pub(crate) history: Vec<Interaction>,
    /// None twice, at least one.
    pub(crate) truth: Vec<ItemId>,
    /// Sorted items that may not be shown.
    pub(crate) hidden: Vec<ItemId>,
}

/// One question about a set: its row in the table.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) name: &'static str,
    /// Cut of recall.
    pub(crate) k: usize,
    pub(crate) validation: Vec<Query>,
    pub(crate) test: Vec<Query>,
}

/// One set, read and divided.
pub(crate) struct Set {
    pub(crate) name: SetName,
    pub(crate) catalogue: Catalogue,
    pub(crate) taxonomy: Taxonomy,
    pub(crate) n_users: usize,
    /// What is learned from while settings are chosen.
    pub(crate) fit: Vec<Interaction>,
    /// What is learned from for the test; none where the model of validation is the one that is tested.
    pub(crate) refit: Option<Vec<Interaction>>,
    pub(crate) views: Vec<View>,
    /// Whether times are real.
    pub(crate) has_clock: bool,
    /// Whether taking an item again counts.
    pub(crate) has_repeats: bool,
    /// Items ordered by training popularity.
    pub(crate) popularity: eval::PopularityRanking,
    /// What the language model predicted before the cut of the test; only the world has them.
    pub(crate) tags: HashMap<UserId, Vec<Tag>>,
    /// Models that several rows share.
    pub(crate) made: Made,
}

/// What a view asks for.
#[derive(Clone, Copy)]
enum Asked {
    All,
    New,
    Repeats,
    /// Items without any interaction before the cut, among themselves.
    Cold,
}

impl Set {
    /// Imports (once) and divides a set.
    pub(crate) fn load(name: SetName, data: &Path, out: &Path, world: &Path) -> Result<Self> {
        let shop_of = |settings: Settings| -> Result<(Shop, Settings)> {
            let ctx = Context::create(settings)?;
            perform(&ctx, Step::Import, false)?;
            Ok((Shop::load(&ctx)?, ctx.settings))
        };
        let (shop, settings) = match name {
            SetName::World => {
                let ctx = Context::open(world).with_context(|| {
                    format!("the set world is the workspace {} of `recgpt demo`", world.display())
                })?;
                (Shop::load(&ctx)?, ctx.settings)
            }
            SetName::Beauty
            | SetName::Office
            | SetName::VideoGames
            | SetName::Uci
            | SetName::Taobao => shop_of(settings_of(name, data, out)?)?,
        };
        let log = shop.log(&settings)?;
        let tags = match name {
            SetName::World => tags_of(&shop, world)?,
            SetName::Beauty
            | SetName::Office
            | SetName::VideoGames
            | SetName::Uci
            | SetName::Taobao => HashMap::new(),
        };
        let set = match name {
            SetName::Beauty | SetName::Office | SetName::VideoGames => {
                leave_one_out(name, shop, &log.train, &log.test)
            }
            SetName::Uci | SetName::World => {
                by_time(name, (shop.catalogue, shop.taxonomy), &log, settings.split.days)
            }
            SetName::Taobao => {
                let (catalogue, map) = category_items(&shop)?;
                let taxonomy = Taxonomy::from_paths(std::iter::empty());
                let log = log.map_items(&map);
                by_time(name, (catalogue, taxonomy), &log, settings.split.days)
            }
        };
        Ok(Self { tags, ..set })
    }
}

fn tags_of(shop: &Shop, world: &Path) -> Result<HashMap<UserId, Vec<Tag>>> {
    let all = events::tables::read_tags(&world.join(crate::steps::tag::TAGS))
        .context("the set world needs its tags: run `recgpt tag` there")?;
    let known = |user: events::tables::UserTags| {
        let row = shop.user_ids.binary_search(&user.user_id).ok()?;
        (!user.tags.is_empty()).then(|| (UserId::from_idx(row), user.tags))
    };
    Ok(all.into_iter().filter_map(known).collect())
}

/// The configuration of a set below the data folder.
fn settings_of(name: SetName, data: &Path, out: &Path) -> Result<Settings> {
    let file = |path: &str| -> Result<String> {
        let path = data.join(path);
        if !path.exists() {
            bail!(Usage(format!(
                "{} is missing; --data names the folder of the shared sets, --only the sets to run",
                path.display()
            )));
        }
        let path = std::path::absolute(&path)?;
        Ok(serde_json::to_string(&path.to_string_lossy())?) // TOML reads JSON's strings
    };
    let (preset, events, items, split) = match name {
        SetName::Beauty => (
            "amazon_sequences",
            "amazon_beauty/user_sequence.txt",
            Some("amazon_beauty/item_generative_indexing_phase_0.txt"),
            LEAVE_ONE_OUT,
        ),
        SetName::Office => (
            "amazon_sequences",
            "amazon_office/Office_Products.inter.json",
            Some("amazon_office/Office_Products.item.json"),
            LEAVE_ONE_OUT,
        ),
        SetName::VideoGames => {
            ("amazon_sequences", "amazon_video_games/Video_Games.inter.json", None, LEAVE_ONE_OUT)
        }
        SetName::Uci => (
            "uci_online_retail",
            "uci_online_retail/events_until_2011-09.csv",
            None,
            "kind = \"by_time\"\ndays = 30\nrelevant = \"reliable\"\nexclude_seen = false",
        ),
        SetName::Taobao => (
            "taobao_behavior",
            "taobao_behavior/events.csv",
            None,
            "kind = \"by_time\"\ndays = 1\nrelevant = \"positive\"\nexclude_seen = true",
        ),
        SetName::World => bail!("the world is a workspace"),
    };
    let items = match (items, name) {
        (Some(items), _) => format!("[import.items]\nfiles = [{}]\n", file(items)?),
        (None, SetName::VideoGames) => {
            let path = bare_items(&data.join(events), out)?;
            format!("[import.items]\nfiles = [{}]\n", serde_json::to_string(&path)?)
        }
        (None, _) => String::new(),
    };
    let workspace = out.join("sets").join(name.as_str());
    let toml = format!(
        "name = \"{0}\"\nworkspace = {1}\n[import]\npreset = \"{preset}\"\n[import.events]\nfiles = [{2}]\n{items}[split]\n{split}\n",
        name.as_str(),
        serde_json::to_string(&workspace.to_string_lossy())?,
        file(events)?,
    );
    toml::from_str(&toml).with_context(|| format!("the configuration of {}", name.as_str()))
}

/// Writes the ids of a set that has no file of items, one a line; gives the path of that file.
fn bare_items(sequences: &Path, out: &Path) -> Result<String> {
    let bytes =
        std::fs::read(sequences).with_context(|| format!("reading {}", sequences.display()))?;
    let users: std::collections::BTreeMap<String, Vec<u64>> = serde_json::from_slice(&bytes)
        .with_context(|| format!("reading {}", sequences.display()))?;
    let ids: BTreeSet<u64> = users.into_values().flatten().collect();
    let lines: String = ids.into_iter().map(|id| format!("{id}\n")).collect();
    let path = crate::workspace::Workspace::new(out).write("sets/items.txt", lines.as_bytes())?;
    Ok(std::path::absolute(path)?.to_string_lossy().into_owned())
}

const LEAVE_ONE_OUT: &str =
    "kind = \"leave_one_out\"\nrelevant = \"positive\"\nexclude_seen = true";

/// The last item is the test, the one before it validation; what is before both is learned from, also
/// for the test, as in the published tables. The test reads the validation item as history.
fn leave_one_out(name: SetName, shop: Shop, before: &[Interaction], last: &[Interaction]) -> Set {
    let (mut fit, mut validation, mut test) = (Vec::new(), Vec::new(), Vec::new());
    let mut tests = last.iter().peekable();
    for history in before.chunk_by(|a, b| a.user == b.user) {
        let user = history[0].user;
        while tests.peek().is_some_and(|t| t.user < user) {
            tests.next();
        }
        let Some((held, earlier)) = history.split_last() else { continue };
        let Some(target) = tests.peek().filter(|t| t.user == user) else {
            fit.extend_from_slice(history);
            continue;
        };
        fit.extend_from_slice(earlier);
        validation.extend(query(earlier, &[*held], Asked::New, &[]));
        test.extend(query(history, &[**target], Asked::New, &[]));
    }
    let view = View { name: name.as_str(), k: 10, validation, test };
    Set {
        name,
        n_users: shop.user_ids.len(),
        popularity: popularity(&fit, shop.catalogue.len()),
        catalogue: shop.catalogue,
        taxonomy: shop.taxonomy,
        fit,
        refit: None,
        views: vec![view],
        has_clock: false,
        has_repeats: false,
        tags: HashMap::new(),
        made: Made::default(),
    }
}

/// What happened in the last days is the test, as many days before them validation; models learn anew
/// from everything before the test.
fn by_time(
    name: SetName,
    (catalogue, taxonomy): (Catalogue, Taxonomy),
    log: &crate::steps::shop::Log,
    days: u32,
) -> Set {
    let cut = log.cuts.now;
    let earlier = cut.plus_days(-i64::from(days));
    let split = eval::by_time(&log.train, earlier);
    let views: &[(&'static str, usize, Asked)] = match name {
        SetName::Uci => &[("uci_repeat", 10, Asked::Repeats), ("uci_new", 10, Asked::New)],
        SetName::Taobao => &[("taobao_all", 30, Asked::All), ("taobao_new", 30, Asked::New)],
        SetName::Beauty | SetName::Office | SetName::VideoGames | SetName::World => {
            &[("world", 10, Asked::New), ("world_cold", 10, Asked::Cold)]
        }
    };
    let basket = name == SetName::Uci;
    let relevant: Vec<Interaction> = split
        .test
        .iter()
        .filter(|i| {
            if name == SetName::World {
                i.event_type.is_reliable()
            } else {
                i.event_type.is_positive()
            }
        })
        .copied()
        .collect();
    let views = views.iter().map(|&(name, k, asked)| View {
        name,
        k,
        validation: queries(&split.train, &relevant, (asked, basket, catalogue.len())),
        test: queries(&log.train, &log.test, (asked, basket, catalogue.len())),
    });
    Set {
        name,
        n_users: log.histories().len(),
        views: views.collect(),
        popularity: popularity(&log.train, catalogue.len()),
        catalogue,
        taxonomy,
        fit: split.train,
        refit: Some(log.train.clone()),
        has_clock: true,
        has_repeats: name != SetName::World,
        tags: HashMap::new(),
        made: Made::default(),
    }
}

/// The queries of all users who have something to find in `after`, with `basket` in their first moment
/// there alone.
fn queries(
    before: &[Interaction],
    after: &[Interaction],
    (asked, basket, n_items): (Asked, bool, usize),
) -> Vec<Query> {
    let mut known = vec![false; n_items];
    before.iter().for_each(|i| known[i.item.idx()] = true);
    let warm: Vec<ItemId> = (0..n_items).filter(|&i| known[i]).map(ItemId::from_idx).collect();
    let mut histories = before.chunk_by(|a, b| a.user == b.user).peekable();
    let mut list = Vec::new();
    for after in after.chunk_by(|a, b| a.user == b.user) {
        let user = after[0].user;
        while histories.peek().is_some_and(|h| h[0].user < user) {
            histories.next();
        }
        let Some(history) = histories.peek().filter(|h| h[0].user == user) else { continue };
        let first = after.iter().find(|i| i.event_type.is_positive());
        let Some(first) = first else { continue };
        let after: Vec<Interaction> =
            after.iter().filter(|i| !basket || i.timestamp == first.timestamp).copied().collect();
        list.extend(query(history, &after, asked, &warm));
    }
    list
}

fn query(
    history: &[Interaction],
    after: &[Interaction],
    asked: Asked,
    warm: &[ItemId],
) -> Option<Query> {
    if history.is_empty() {
        return None;
    }
    let seen: BTreeSet<ItemId> = history.iter().map(|i| i.item).collect();
    let is_asked = |item: &ItemId| match asked {
        Asked::All => true,
        Asked::New => !seen.contains(item),
        Asked::Repeats => seen.contains(item),
        Asked::Cold => warm.binary_search(item).is_err(),
    };
    let mut truth: Vec<ItemId> = Vec::new();
    for i in after.iter().filter(|i| i.event_type.is_positive()) {
        if is_asked(&i.item) && !truth.contains(&i.item) {
            truth.push(i.item);
        }
    }
    let hidden = match asked {
        Asked::New => seen.into_iter().collect(),
        Asked::Cold => warm.to_vec(),
        Asked::All | Asked::Repeats => Vec::new(),
    };
    let user = history[0].user;
    (!truth.is_empty()).then(|| Query { user, history: history.to_vec(), truth, hidden })
}

/// How often items were taken in `log`.
pub(super) fn popularity(log: &[Interaction], n_items: usize) -> eval::PopularityRanking {
    let mut counts = vec![0; n_items];
    log.iter().filter(|i| i.event_type.is_positive()).for_each(|i| counts[i.item.idx()] += 1);
    eval::PopularityRanking::new(&counts)
}

/// A catalogue whose items are the categories of the shop, and the category of every item.
fn category_items(shop: &Shop) -> Result<(Catalogue, Vec<Option<ItemId>>)> {
    let mut names: Vec<String> = shop
        .catalogue
        .items()
        .iter()
        .filter_map(|i| Some(shop.taxonomy.path(i.category?).to_owned()))
        .collect();
    names.sort_unstable();
    names.dedup();
    let map = shop.catalogue.items().iter().map(|item| {
        let name = shop.taxonomy.path(item.category?);
        names.binary_search_by(|n| n.as_str().cmp(name)).ok().map(ItemId::from_idx)
    });
    let map = map.collect();
    let items = names.into_iter().map(|item_id| Item { item_id, ..Item::default() });
    Ok((Catalogue::new(items.collect())?, map))
}

/// The moment behind everything in a log.
pub(crate) fn end_of(log: &[Interaction]) -> Timestamp {
    Timestamp(log.iter().map(|i| i.timestamp.0 + 1).max().unwrap_or(0))
}
