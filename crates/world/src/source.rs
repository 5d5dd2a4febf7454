//! The word lists under `data/`, parsed once: what every world draws from.
//!
//! The lists are compiled in; a mistake in them is a fault of the program, found by the tests.

use std::collections::HashMap;
use std::sync::LazyLock;

use types::Season;

/// How often a thing is bought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Buy {
    /// Used up and bought again after about so many days.
    Repeats(f32),
    /// Lasts so many days; the need is gone until then.
    Lasts(f32),
    /// Now and then; so many days until the appetite is back.
    NowAndThen(f32),
}

/// A modifier that fits some of a leaf's core words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Modifier {
    /// Row of [`Source::words`].
    pub(crate) word: u16,
    /// Bit `i`: fits core word `i`.
    pub(crate) fits: u16,
}

/// One leaf category.
#[derive(Debug)]
pub(crate) struct LeafSpec {
    pub(crate) path: String,
    pub(crate) cores: Vec<String>,
    /// Attribute name and modifiers, in title order.
    pub(crate) groups: Vec<(String, Vec<Modifier>)>,
    pub(crate) price: (f32, f32),
    pub(crate) buy: Buy,
    /// Factors by [`Season`] in declaration order.
    pub(crate) season: [f32; 4],
    pub(crate) goes_with: Vec<usize>,
    pub(crate) pool: usize,
    /// Bought by everyone because one must: no interest.
    pub(crate) is_necessity: bool,
}

/// A pool of brand names.
#[derive(Debug)]
pub(crate) struct BrandPool {
    pub(crate) name: String,
    pub(crate) brands: Vec<String>,
    pub(crate) endings: Vec<String>,
}

/// When a theme holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThemeKind {
    Lasting,
    /// Only started by an event of life.
    Life,
    /// Only in one season.
    Season(Season),
}

/// A family of interests that one person tends to share.
#[derive(Debug)]
pub(crate) struct ThemeSpec {
    /// How much likelier among women (below 1: among men).
    pub(crate) lean: f32,
    pub(crate) ages: (i64, i64),
    pub(crate) kind: ThemeKind,
    /// For sentences: "slow mornings".
    pub(crate) moments: Vec<String>,
    pub(crate) interests: Vec<usize>,
}

/// What an interest draws from one leaf.
#[derive(Debug)]
pub(crate) struct InterestLeaf {
    pub(crate) leaf: usize,
    /// Preferred modifiers, rows of [`Source::words`].
    pub(crate) words: Vec<u16>,
    /// Bit `i`: core word `i` is preferred.
    pub(crate) cores: u16,
}

/// One interest of the pool.
#[derive(Debug)]
pub(crate) struct InterestSpec {
    pub(crate) text: String,
    /// "loves {short}".
    pub(crate) short: String,
    pub(crate) theme: usize,
    pub(crate) leaves: Vec<InterestLeaf>,
}

/// One event of life.
#[derive(Debug)]
pub(crate) struct LifeSpec {
    /// Also the rationale: "new baby".
    pub(crate) name: String,
    pub(crate) interests: Vec<usize>,
    pub(crate) rate_per_year: f32,
    pub(crate) ages: (i64, i64),
    pub(crate) days: i64,
    pub(crate) season: Option<Season>,
    /// First and last day since the start, and the leaves needed then.
    pub(crate) phases: Vec<(i64, i64, Vec<usize>)>,
}

/// All lists.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) words: Vec<String>,
    pub(crate) leaves: Vec<LeafSpec>,
    pub(crate) pools: Vec<BrandPool>,
    pub(crate) themes: Vec<ThemeSpec>,
    pub(crate) interests: Vec<InterestSpec>,
    pub(crate) life: Vec<LifeSpec>,
    lists: HashMap<String, Vec<String>>,
}

impl Source {
    /// A named list of `people.txt` or of the grammars.
    pub(crate) fn list(&self, name: &str) -> &[String] {
        self.lists.get(name).map_or(&[], Vec::as_slice)
    }

    /// The interest of a text.
    pub(crate) fn interest(&self, text: &str) -> Option<&InterestSpec> {
        self.interests.iter().find(|i| i.text == text)
    }
}

/// The lists, parsed at first use.
pub(crate) fn source() -> &'static Source {
    static SOURCE: LazyLock<Source> = LazyLock::new(|| {
        parse_source().unwrap_or_else(|fault| panic!("word lists under crates/world/data: {fault}"))
    });
    &SOURCE
}

const CATALOGUE: &str = include_str!("../data/catalogue.txt");
const BRANDS: &str = include_str!("../data/brands.txt");
const THEMES: &str = include_str!("../data/themes.txt");
const LIFE: &str = include_str!("../data/life.txt");
const PEOPLE: &str = include_str!("../data/people.txt");
const GRAMMAR: &str = include_str!("../data/grammar.txt");

fn parse_source() -> Result<Source, String> {
    let pools = parse_brands(BRANDS)?;
    let mut words = Words::default();
    let leaves = parse_catalogue(CATALOGUE, &pools, &mut words)?;
    let by_name: HashMap<&str, usize> = leaves
        .iter()
        .enumerate()
        .map(|(idx, l)| (l.path.rsplit(" > ").next().unwrap_or(&l.path), idx))
        .collect();
    let (themes, interests) = parse_themes(THEMES, &leaves, &by_name, &words)?;
    let life = parse_life(LIFE, &interests, &by_name)?;
    let mut lists = parse_lists(PEOPLE)?;
    lists.extend(parse_grammar(GRAMMAR));
    Ok(Source { words: words.all, leaves, pools, themes, interests, life, lists })
}

#[derive(Default)]
struct Words {
    all: Vec<String>,
    by_text: HashMap<String, u16>,
}

impl Words {
    fn intern(&mut self, text: &str) -> Result<u16, String> {
        if let Some(&row) = self.by_text.get(text) {
            return Ok(row);
        }
        let row = u16::try_from(self.all.len()).map_err(|_| "more than 65535 modifiers")?;
        self.all.push(text.to_owned());
        self.by_text.insert(text.to_owned(), row);
        Ok(row)
    }
}

fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && (!l.starts_with('#') || l.starts_with("## ")))
}

fn split_list(text: &str, separator: char) -> Vec<String> {
    text.split(separator).map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect()
}

fn columns<const N: usize>(row: &str) -> Result<[&str; N], String> {
    let parts: Vec<&str> = row.split('|').map(str::trim).collect();
    parts.try_into().map_err(|_| format!("expected {N} columns: {row:?}"))
}

fn number(text: &str) -> Result<f32, String> {
    text.trim().parse().map_err(|_| format!("not a number: {text:?}"))
}

fn whole_range(text: &str) -> Result<(i64, i64), String> {
    let (low, high) = text.split_once('-').ok_or_else(|| format!("not a range: {text:?}"))?;
    Ok((number(low)? as i64, number(high)? as i64))
}

fn parse_brands(text: &str) -> Result<Vec<BrandPool>, String> {
    rows(text)
        .map(|row| {
            let [name, brands, endings] = columns(row)?;
            Ok(BrandPool {
                name: name.to_owned(),
                brands: split_list(brands, ','),
                endings: split_list(endings, ','),
            })
        })
        .collect()
}

fn parse_catalogue(
    text: &str,
    pools: &[BrandPool],
    words: &mut Words,
) -> Result<Vec<LeafSpec>, String> {
    let mut leaves = Vec::new();
    let mut goes_with: Vec<Vec<String>> = Vec::new();
    let mut names = HashMap::new();
    let mut head = (String::new(), 0);
    for row in rows(text) {
        if let Some(group) = row.strip_prefix("## ") {
            let [path, pool] = columns(group)?;
            let pool = pools.iter().position(|p| p.name == pool);
            head = (path.to_owned(), pool.ok_or_else(|| format!("no brand pool: {group:?}"))?);
            continue;
        }
        let [name, cores, groups, price, buy, season, with] = columns(row)?;
        if names.insert(name.to_owned(), leaves.len()).is_some() {
            return Err(format!("leaf {name:?} occurs twice"));
        }
        let (low, high) = price.split_once('-').ok_or_else(|| format!("no price: {row:?}"))?;
        goes_with.push(split_list(with, ','));
        leaves.push(LeafSpec {
            path: format!("{} > {name}", head.0),
            cores: split_list(cores, ';'),
            groups: parse_groups(groups, words)?,
            price: (number(low)?, number(high)?),
            buy: parse_buy(buy)?,
            season: parse_season_factors(season)?,
            goes_with: Vec::new(),
            pool: head.1,
            is_necessity: head.0.ends_with("> Household"),
        });
    }
    for (leaf, with) in leaves.iter_mut().zip(goes_with) {
        for name in with.iter().filter(|n| *n != "-") {
            let row = names.get(name).ok_or_else(|| format!("{}: no leaf {name:?}", leaf.path))?;
            leaf.goes_with.push(*row);
        }
    }
    Ok(leaves)
}

fn parse_groups(text: &str, words: &mut Words) -> Result<Vec<(String, Vec<Modifier>)>, String> {
    text.split(" / ")
        .map(|group| {
            let (name, all) =
                group.split_once(':').ok_or_else(|| format!("no group: {group:?}"))?;
            let modifiers = all.split(',').map(|entry| {
                let (word, fits) = entry.trim().split_once('@').unwrap_or((entry.trim(), ""));
                let mask = fits.bytes().fold(0u16, |m, b| m | 1 << (b.wrapping_sub(b'1') & 15));
                let fits = if mask == 0 { u16::MAX } else { mask };
                Ok(Modifier { word: words.intern(word)?, fits })
            });
            Ok((name.trim().to_owned(), modifiers.collect::<Result<_, String>>()?))
        })
        .collect()
}

fn parse_buy(text: &str) -> Result<Buy, String> {
    let days = number(text.get(1..).unwrap_or(""))?;
    match text.as_bytes().first() {
        Some(b'r') => Ok(Buy::Repeats(days)),
        Some(b'd') => Ok(Buy::Lasts(days)),
        Some(b'o') => Ok(Buy::NowAndThen(days)),
        _ => Err(format!("not r, d or o: {text:?}")),
    }
}

fn parse_season_factors(text: &str) -> Result<[f32; 4], String> {
    let mut factors = [1.0; 4];
    for part in text.split_whitespace().filter(|p| *p != "-") {
        let row = "psaw".find(part.get(..1).unwrap_or("?"));
        let row = row.ok_or_else(|| format!("not a season: {part:?}"))?;
        factors[row] = number(part.get(1..).unwrap_or(""))?;
    }
    Ok(factors)
}

fn parse_season(text: &str) -> Option<Season> {
    Season::ALL.into_iter().find(|s| s.as_str() == text)
}

fn parse_themes(
    text: &str,
    leaves: &[LeafSpec],
    by_name: &HashMap<&str, usize>,
    words: &Words,
) -> Result<(Vec<ThemeSpec>, Vec<InterestSpec>), String> {
    let mut themes: Vec<ThemeSpec> = Vec::new();
    let mut interests = Vec::new();
    for row in rows(text) {
        if let Some(head) = row.strip_prefix("## ") {
            let [_, flags, moments] = columns(head)?;
            themes.push(parse_theme(flags, moments)?);
            continue;
        }
        let [text, short, from] = columns(row)?;
        let theme = themes.len().checked_sub(1).ok_or("an interest before the first theme")?;
        themes[theme].interests.push(interests.len());
        let leaves = split_list(from, ';')
            .iter()
            .map(|part| parse_interest_leaf(part, leaves, by_name, words))
            .collect::<Result<_, String>>()
            .map_err(|fault| format!("{text:?}: {fault}"))?;
        interests.push(InterestSpec {
            text: text.to_owned(),
            short: short.to_owned(),
            theme,
            leaves,
        });
    }
    Ok((themes, interests))
}

fn parse_theme(flags: &str, moments: &str) -> Result<ThemeSpec, String> {
    let mut theme = ThemeSpec {
        lean: 1.0,
        ages: (0, 120),
        kind: ThemeKind::Lasting,
        moments: split_list(moments, ';'),
        interests: Vec::new(),
    };
    for flag in flags.split_whitespace().filter(|f| *f != "-") {
        if flag == "life" {
            theme.kind = ThemeKind::Life;
        } else if let Some(season) = parse_season(flag) {
            theme.kind = ThemeKind::Season(season);
        } else if let Some(ages) = flag.strip_prefix('a') {
            theme.ages = whole_range(ages)?;
        } else if let Some(factor) = flag.strip_prefix('f') {
            theme.lean = number(factor)?;
        } else if let Some(factor) = flag.strip_prefix('m') {
            theme.lean = 1.0 / number(factor)?;
        } else if flag != "season" {
            return Err(format!("unknown flag {flag:?}"));
        }
    }
    Ok(theme)
}

fn parse_interest_leaf(
    text: &str,
    leaves: &[LeafSpec],
    by_name: &HashMap<&str, usize>,
    words: &Words,
) -> Result<InterestLeaf, String> {
    let (name, preferred) = text.split_once(':').unwrap_or((text, ""));
    let leaf = *by_name.get(name.trim()).ok_or_else(|| format!("no leaf {name:?}"))?;
    let mut entry = InterestLeaf { leaf, words: Vec::new(), cores: 0 };
    for word in preferred.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        let modifier = words.by_text.get(word).filter(|&&row| {
            leaves[leaf].groups.iter().any(|(_, all)| all.iter().any(|m| m.word == row))
        });
        match (modifier, leaves[leaf].cores.iter().position(|c| c == word)) {
            (Some(&row), _) => entry.words.push(row),
            (None, Some(core)) => entry.cores |= 1 << core,
            (None, None) => return Err(format!("{name}: neither modifier nor core: {word:?}")),
        }
    }
    Ok(entry)
}

fn parse_life(
    text: &str,
    interests: &[InterestSpec],
    by_name: &HashMap<&str, usize>,
) -> Result<Vec<LifeSpec>, String> {
    let find_leaf =
        |name: &str| by_name.get(name.trim()).copied().ok_or_else(|| format!("no leaf {name:?}"));
    rows(text)
        .map(|row| {
            let [name, texts, rate, ages, days, season, phases] = columns(row)?;
            let phases = phases.split(';').map(|phase| {
                let (span, leaves) =
                    phase.split_once(':').ok_or_else(|| format!("no phase: {phase:?}"))?;
                let (from, to) = whole_range(span)?;
                Ok((from, to, leaves.split(',').map(find_leaf).collect::<Result<_, String>>()?))
            });
            let of_text = |text: &String| {
                interests.iter().position(|i| i.text == *text).ok_or(format!("no {text:?}"))
            };
            Ok(LifeSpec {
                name: name.to_owned(),
                interests: split_list(texts, ';').iter().map(of_text).collect::<Result<_, _>>()?,
                rate_per_year: number(rate)?,
                ages: whole_range(ages)?,
                days: number(days)? as i64,
                season: parse_season(season),
                phases: phases.collect::<Result<_, String>>()?,
            })
        })
        .collect()
}

fn parse_lists(text: &str) -> Result<HashMap<String, Vec<String>>, String> {
    rows(text)
        .map(|row| {
            let (name, all) = row.split_once(':').ok_or_else(|| format!("no list: {row:?}"))?;
            Ok((name.trim().to_owned(), split_list(all, ';')))
        })
        .collect()
}

/// Sections `## name`, one sentence per line.
fn parse_grammar(text: &str) -> HashMap<String, Vec<String>> {
    let mut sections: HashMap<String, Vec<String>> = HashMap::new();
    let mut name = String::new();
    for row in rows(text) {
        match row.strip_prefix("## ") {
            Some(section) => section.trim().clone_into(&mut name),
            None => sections.entry(name.clone()).or_default().push(row.to_owned()),
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::source;

    #[test]
    fn the_lists_are_whole() {
        let s = source();
        let departments: HashSet<&str> =
            s.leaves.iter().filter_map(|l| l.path.split(" > ").next()).collect();
        assert_eq!(departments.len(), 12);
        assert!(s.leaves.len() >= 200, "{}", s.leaves.len());
        assert!((140..=220).contains(&s.interests.len()), "{}", s.interests.len());
        assert!(s.themes.len() >= 45, "{}", s.themes.len());
        for leaf in &s.leaves {
            let modifiers: usize = leaf.groups.iter().map(|(_, all)| all.len()).sum();
            assert!((2..=5).contains(&leaf.cores.len()), "{}", leaf.path);
            assert!((2..=3).contains(&leaf.groups.len()), "{}", leaf.path);
            assert!((5..=13).contains(&modifiers), "{} has {modifiers} modifiers", leaf.path);
            assert!(leaf.price.0 < leaf.price.1, "{}", leaf.path);
        }
    }

    #[test]
    fn a_core_word_names_one_leaf_and_an_interest_one_text() {
        let s = source();
        let mut owner: HashMap<&str, &str> = HashMap::new();
        for leaf in &s.leaves {
            for core in &leaf.cores {
                let other = owner.insert(core, &leaf.path);
                assert!(other.is_none(), "{core:?}: {} and {other:?}", leaf.path);
            }
        }
        let texts: HashSet<&str> = s.interests.iter().map(|i| i.text.as_str()).collect();
        assert_eq!(texts.len(), s.interests.len());
    }

    #[test]
    fn every_interest_and_every_core_has_enough_to_say() {
        let s = source();
        for interest in &s.interests {
            assert!((2..=5).contains(&interest.leaves.len()), "{}", interest.text);
            assert!(s.themes[interest.theme].moments.len() >= 3, "{}", interest.text);
        }
        for leaf in &s.leaves {
            for (bit, core) in leaf.cores.iter().enumerate() {
                let fits = |m: &&super::Modifier| m.fits >> bit & 1 == 1;
                let n: usize =
                    leaf.groups.iter().map(|(_, all)| all.iter().filter(fits).count()).sum();
                assert!(n >= 2, "{core}: {n} modifiers");
            }
        }
    }
}
