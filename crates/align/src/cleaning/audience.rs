//! For whom a product is, and whether that is the user.

use types::{User, normalise_text};

const MEN: [&str; 6] = ["men", "mens", "men's", "male", "gents", "boyfriend"];
const WOMEN: [&str; 7] = ["women", "womens", "women's", "female", "ladies", "girlfriend", "bridal"];
const CHILDREN: [&str; 10] = [
    "kids",
    "kid's",
    "children",
    "children's",
    "toddler",
    "baby",
    "boys",
    "girls",
    "infant",
    "nursery",
];
const GIFT: [&str; 3] = ["gift", "gifts", "giftwrap"];

/// Whether a text names someone that the user, by their own attributes, is not, or says that it is a gift.
pub(super) fn is_for_another(text: &str, user: &User) -> bool {
    let normalised = normalise_text(text);
    let names = |list: &[&str]| normalised.split([' ', '-']).any(|word| list.contains(&word));
    let gender = user.attribute("gender").or_else(|| user.attribute("sex"));
    let gender = gender.map(str::to_lowercase).unwrap_or_default();
    let childless = ["children", "kids", "n_children"].iter().any(|name| {
        user.attribute(name).is_some_and(|n| matches!(n.trim(), "0" | "no" | "none" | "false"))
    });
    let other_gender = match gender.chars().next() {
        Some('m') => names(&WOMEN) && !names(&MEN),
        Some('f' | 'w') => names(&MEN) && !names(&WOMEN),
        Some(_) | None => false,
    };
    names(&GIFT) || other_gender || childless && names(&CHILDREN)
}
