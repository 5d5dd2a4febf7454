//! Item level: an item's record becomes its core words.
//!
//! The first phrase of the title without brand, sizes, counts and model numbers, in lower case,
//! its last five words (the kind of product stands at the end). Rules, not a model: the same title
//! always gives the same words, and a quote of them can be looked up.

use ahash::AHashMap;
use types::{Catalogue, Item, ItemId, Taxonomy};

use super::ids::Ids;
use super::safe::{id_text, is_invisible, plain};

const MOST_WORDS: usize = 5;
const LONGEST_TITLE: usize = 10_000; // characters that are looked at
const LONGEST_WORD: usize = 24; // characters; titles without spaces keep their end

/// Words that measure or count what stands before them.
const UNITS: [&str; 44] = [
    "oz", "ml", "l", "cl", "cm", "mm", "m", "inch", "inches", "in", "ft", "feet", "yd", "lb",
    "lbs", "kg", "g", "mg", "gb", "tb", "mb", "w", "v", "watt", "watts", "x", "by", "pack",
    "packs", "pk", "count", "ct", "piece", "pieces", "pcs", "pc", "sheets", "sheet", "pages", "ea",
    "per", "hz", "mp", "dpi",
];

/// Words that open a count: `set of 3`, `pack of 200`.
const CONTAINERS: [&str; 9] =
    ["set", "pack", "box", "case", "packet", "pk", "carton", "bag", "bundle"];

/// Sizes of clothes.
const SIZES: [&str; 9] = ["xs", "s", "m", "l", "xl", "xxl", "xxxl", "2xl", "3xl"];

/// Words that a phrase neither starts nor ends with.
const LOOSE: [&str; 14] =
    ["of", "with", "and", "for", "in", "the", "a", "an", "by", "to", "from", "or", "on", "w"];

/// HTML that shops leave in titles.
const ENTITIES: [(&str, &str); 5] =
    [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")];

/// Core words of every item of a catalogue.
#[derive(Debug, Clone, Default)]
pub struct ItemCores {
    /// Distinct words.
    texts: Vec<String>,
    by_text: AHashMap<String, u32>,
    /// The row of `texts` of each item.
    rows: Vec<u32>,
    ids: Ids,
    /// Place of each id in the order of ids.
    places: Vec<u32>,
}

impl ItemCores {
    /// Computes the words of every item once.
    #[must_use]
    pub fn new(catalogue: &Catalogue, taxonomy: &Taxonomy) -> Self {
        let mut cores = Self::default();
        for item in catalogue.items() {
            let text = core_of(item, taxonomy);
            let next = cores.texts.len() as u32;
            let row = *cores.by_text.entry(text).or_insert_with_key(|text| {
                cores.texts.push(text.clone());
                next
            });
            cores.rows.push(row);
            cores.ids.push(&item.item_id);
        }
        cores.places = cores.ids.places();
        cores
    }

    /// The words of an item; the id itself where the catalogue lacks it.
    #[must_use]
    pub fn core<'s>(&'s self, item_id: &'s str) -> &'s str {
        self.find(item_id).map_or(item_id, |id| self.of(id))
    }

    /// The words of a row of the catalogue.
    ///
    /// # Panics
    /// When the id is not of this catalogue.
    #[must_use]
    pub fn of(&self, id: ItemId) -> &str {
        &self.texts[self.rows[id.idx()] as usize]
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of an item's words among the distinct ones.
    pub(super) fn text_row(&self, id: ItemId) -> u32 {
        self.rows[id.idx()]
    }

    /// The id of a row of the catalogue.
    pub(super) fn id(&self, id: ItemId) -> &str {
        self.ids.get(id.0)
    }

    /// What orders acts of one moment on a row of the catalogue.
    pub(super) fn tie_key(&self, id: ItemId) -> u32 {
        self.ids.tie_key(id.0)
    }

    /// Place of the id of a row of the catalogue in the order of ids.
    pub(super) fn place(&self, id: ItemId) -> u32 {
        self.places[id.idx()]
    }

    pub(super) fn find_text(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    /// Number of distinct words.
    pub(super) fn n_texts(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn find(&self, item_id: &str) -> Option<ItemId> {
        self.ids.find(item_id).map(ItemId)
    }
}

fn core_of(item: &Item, taxonomy: &Taxonomy) -> String {
    let words = title_words(&item.title, item.brand.as_deref());
    if !words.is_empty() {
        return words.join(" ");
    }
    let leaf = match item.category {
        Some(id) if id.idx() < taxonomy.len() => taxonomy.name(id),
        _ => item.category_path.rsplit('>').next().unwrap_or_default(),
    };
    let leaf = plain(leaf);
    if leaf.is_empty() { id_text(&item.item_id).into_owned() } else { leaf }
}

fn title_words(title: &str, brand: Option<&str>) -> Vec<String> {
    let harmless = |c: char| !(c.is_control() || matches!(c, '<' | '>' | '{' | '}' | '`'));
    let title = title.chars().take(LONGEST_TITLE).filter(|&c| !is_invisible(c));
    let title: String = title.map(|c| if harmless(c) { c } else { ' ' }).collect();
    let mut title = title.to_lowercase();
    for (entity, character) in ENTITIES {
        title = title.replace(entity, character);
    }
    let title = without_brand(&title, brand);
    let mut phrases =
        title.split([',', ';', '(', ')', '[', ']', '|', '–', '—', ':', '。', '，', '/']);
    let mut words = phrases
        .by_ref()
        .flat_map(|phrase| phrase.split(" - "))
        .map(phrase_words)
        .find(|words| !words.is_empty())
        .unwrap_or_default();
    if words.len() > MOST_WORDS {
        words.drain(..words.len() - MOST_WORDS);
    }
    trim_loose(&mut words);
    words
}

/// The words of one phrase that name the thing; what it is for ("cards for laser printers") goes
/// when at least two words stand before it.
fn phrase_words(phrase: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut after_number = false;
    for token in
        phrase.split(|c: char| c.is_whitespace() || matches!(c, '"' | '*' | '+' | '!' | '?'))
    {
        let word = token.trim_matches(|c: char| !c.is_alphanumeric());
        if word.is_empty() || SIZES.contains(&word) {
            continue;
        }
        if is_number_or_model(word) {
            let container = words.len() >= 2
                && words[words.len() - 1] == "of"
                && CONTAINERS.contains(&words[words.len() - 2].as_str());
            if container {
                words.truncate(words.len() - 2);
            } else if words.last().is_some_and(|w| w == "size" || w == "no") {
                words.pop();
            }
            after_number = true;
            continue;
        }
        if after_number && UNITS.contains(&word) {
            continue;
        }
        after_number = false;
        if matches!(word, "for" | "with") && words.len() >= 2 {
            break;
        }
        words.push(shorten(word));
    }
    trim_loose(&mut words);
    words
}

/// Starts with a digit, or mixes letters with at least two digits: `200`, `3.5g`, `ti-83`.
fn is_number_or_model(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        || word.chars().filter(char::is_ascii_digit).count() >= 2
}

fn shorten(word: &str) -> String {
    let n = word.chars().count();
    word.chars().skip(n.saturating_sub(LONGEST_WORD)).collect()
}

fn trim_loose(words: &mut Vec<String>) {
    while words.last().is_some_and(|w| LOOSE.contains(&w.as_str())) {
        words.pop();
    }
    while words.first().is_some_and(|w| LOOSE.contains(&w.as_str())) {
        words.remove(0);
    }
}

/// Takes the brand out where it stands as whole words; a title that is nothing but it stays.
fn without_brand(title: &str, brand: Option<&str>) -> String {
    let Some(brand) = brand.map(str::to_lowercase).filter(|b| !b.trim().is_empty()) else {
        return title.to_owned();
    };
    let brand = brand.trim();
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let mut rest = title;
    let mut out = String::with_capacity(title.len());
    while let Some(at) = rest.find(brand) {
        let (before, after) = (&rest[..at], &rest[at + brand.len()..]);
        out.push_str(before);
        let left =
            if before.is_empty() { out.chars().next_back() } else { before.chars().next_back() };
        if !(edge(left) && edge(after.chars().next())) {
            out.push_str(brand);
        } else if let Some(after) = after.strip_prefix("'s") {
            rest = after;
            continue;
        }
        rest = after;
    }
    out.push_str(rest);
    if out.chars().any(char::is_alphabetic) { out } else { title.to_owned() }
}

#[cfg(test)]
mod tests {
    use types::{Catalogue, CategoryId, Item, Taxonomy};

    use super::ItemCores;

    fn check(title: &str, brand: &str, category: &str, want: &str) {
        let item = Item {
            item_id: "i-1".to_owned(),
            title: title.to_owned(),
            brand: Some(brand.to_owned()).filter(|b| !b.is_empty()),
            category_path: category.to_owned(),
            ..Item::default()
        };
        let catalogue = Catalogue::new(vec![item]).unwrap();
        let cores = ItemCores::new(&catalogue, &Taxonomy::default());
        assert_eq!(cores.core("i-1"), want, "{title:?}");
    }

    #[test]
    fn titles_become_the_kind_of_product() {
        check("WHITE HANGING HEART T-LIGHT HOLDER", "", "", "white hanging heart t-light holder");
        check("SET OF 3 CAKE TINS PANTRY DESIGN ", "", "", "cake tins pantry design");
        check("60 TEATIME FAIRY CAKE CASES", "", "", "teatime fairy cake cases");
        check("BAG 500g SWIRLY MARBLES", "", "", "bag swirly marbles");
        check(
            "Avery Two-Side Printable Clean-Edge Business Cards for Laser Printers, White, Pack of 200 (05871)",
            "Avery",
            "",
            "two-side printable clean-edge business cards",
        );
        check(
            "Texas Instruments TI-83 Graphing Calculator",
            "Texas Instruments",
            "",
            "graphing calculator",
        );
        check("HP 12C Financial Calculator", "HP", "", "financial calculator");
        check("Averys Cards", "Avery", "", "averys cards");
        check("Dr. Jam's Arouzer Stress Ball", "", "", "dr jam's arouzer stress ball");
        check("Peak waterproof hiking boots, size 42", "Peak", "", "waterproof hiking boots");
        check("Hiking boots size 42 XL", "", "", "hiking boots");
        check("Century &quot;Series&quot; Shredder", "", "", "century series shredder");
        check("Nike", "Nike", "", "nike");
        check("防水登山鞋", "", "", "防水登山鞋");
        check("12 | (3)", "", "Home > Lamps", "lamps");
    }

    #[test]
    fn items_without_words_fall_back_to_category_or_id() {
        check("", "", "c123", "c123");
        check("", "", "", "i-1");
        check("???", "", "Sports > Boots; (big)", "boots big");
        let item =
            Item { item_id: "x".to_owned(), category: Some(CategoryId(1)), ..Item::default() };
        let catalogue = Catalogue::new(vec![item]).unwrap();
        let cores = ItemCores::new(&catalogue, &Taxonomy::from_paths(["Pets > Dogs"]));
        assert_eq!((cores.core("x"), cores.core("unknown")), ("dogs", "unknown"));
    }
}
