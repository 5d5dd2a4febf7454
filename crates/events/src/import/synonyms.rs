//! What shops call the fields of an event, the kinds of events, and how they write time.

use types::EventType;

/// Canonical field, and names in lower case without `_`, `-` and spaces, likeliest first.
pub(super) const COLUMNS: &[(&str, &[&str])] = &[
    ("event_id", &["eventid", "eventuuid", "insertid"]),
    ("user_id", USERS),
    ("item_id", ITEMS),
    ("timestamp", TIMES),
    ("event_type", TYPES),
    ("value", &["value", "quantity", "qty", "amount", "rating", "overall", "stars", "score"]),
    ("query", &["query", "searchquery", "searchterm", "keyword", "keywords", "q"]),
    ("session_id", &["sessionid", "session", "visitid", "usersession", "orderid", "invoiceno"]),
    ("request_id", &["requestid", "queryid", "recommid", "recommendationid"]),
    ("position", &["position", "rank", "slot"]),
];

const USERS: &[&str] = &[
    "userid",
    "user",
    "uid",
    "customerid",
    "customer",
    "visitorid",
    "visitor",
    "memberid",
    "clientid",
    "accountid",
    "reviewerid",
    "usertoken",
    "buyerid",
    "userpseudoid",
    "anonymousid",
    "personid",
    "cookieid",
    "deviceid",
];
const ITEMS: &[&str] = &[
    "itemid",
    "item",
    "productid",
    "product",
    "sku",
    "asin",
    "stockcode",
    "articleid",
    "objectid",
    "goodsid",
    "movieid",
    "contentid",
    "parentasin",
    "offerid",
    "listingid",
    "iid",
];
const TIMES: &[&str] = &[
    "timestamp",
    "time",
    "ts",
    "eventtime",
    "eventtimestamp",
    "datetime",
    "createdat",
    "date",
    "unixreviewtime",
    "occurredat",
    "invoicedate",
    "orderdate",
    "tdat",
    "reviewtime",
    "timems",
];
const TYPES: &[&str] = &[
    "eventtype",
    "event",
    "eventname",
    "action",
    "actiontype",
    "behavior",
    "behaviour",
    "behaviortype",
    "activity",
    "interaction",
    "interactiontype",
    "type",
    "kind",
];

/// Ways to write time that are not found by themselves; day before month where both could be.
pub(super) const TIME_PATTERNS: &[&str] = &[
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y-%m-%d %H",
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y%m%d%H%M%S",
    "%Y%m%d",
    "%Y/%m/%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%m %d, %Y",
    "%b %d, %Y",
    "%d %b %Y",
];

/// Parts of names, and what they speak for; the first that occurs counts.
const KINDS: &[(&str, EventType)] = &[
    ("impression", EventType::Impression),
    ("cart", EventType::Cart),
    ("basket", EventType::Cart),
    ("purchase", EventType::Purchase),
    ("transaction", EventType::Purchase),
    ("order", EventType::Purchase),
    ("checkout", EventType::Purchase),
    ("buy", EventType::Purchase),
    ("sale", EventType::Purchase),
    ("retail", EventType::Purchase),
    ("rating", EventType::Purchase),
    ("review", EventType::Purchase),
    ("search", EventType::Search),
    ("fav", EventType::Favorite),
    ("wish", EventType::Favorite),
    ("like", EventType::Favorite),
    ("return", EventType::Return),
    ("refund", EventType::Return),
    ("share", EventType::Share),
    ("detail", EventType::DetailView),
    ("view", EventType::DetailView),
    ("click", EventType::Click),
];

/// The kind that a name (of a type, or of a file) speaks for.
pub(super) fn event_type_of(name: &str) -> Option<EventType> {
    let lower = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    if ["remove", "delete", "dislike", "unlike"].iter().any(|not| lower.contains(not)) {
        return None;
    }
    KINDS.iter().find(|(part, _)| lower.contains(part)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use types::EventType;

    use super::event_type_of;

    #[test]
    fn names_speak_for_kinds() {
        for (name, want) in [
            ("Product Viewed", Some(EventType::DetailView)),
            ("ADD_TO_BASKET", Some(EventType::Cart)),
            ("remove_from_cart", None),
            ("/orders/reviews.csv", Some(EventType::Purchase)),
            ("login", None),
        ] {
            assert_eq!(event_type_of(name), want, "{name}");
        }
    }
}
