//! Query parameters of a recommendation, read strictly: an unknown or repeated name is an error.

use super::errors::ApiError;
use crate::{RecommendRequest, Seen, SessionEvent};

/// Names that may stand several times.
const LISTS: [&str; 5] = ["text", "session", "exclude", "category", "merchant"];

const KNOWN: &str = "one of n, beta, explain, text, session, exclude, include_seen, category, \
                     merchant, min_price, max_price, per_category, per_merchant, new_places";

/// The request that path and query ask for.
///
/// A value of `session` or `exclude` is an item id, or several between commas when it is not the id of an
/// item itself.
pub(super) fn recommend_request(
    user_id: &str,
    pairs: &[(String, String)],
    has_item: &dyn Fn(&str) -> bool,
) -> Result<RecommendRequest, ApiError> {
    let mut request = RecommendRequest::new(user_id);
    let mut given: Vec<&str> = Vec::new();
    for (name, value) in pairs {
        if !LISTS.contains(&name.as_str()) && given.contains(&name.as_str()) {
            return Err(ApiError::parameter(name, value, "given once"));
        }
        given.push(name);
        match name.as_str() {
            "n" => request.n = number(name, value, "a whole number from 1 to 200")?,
            "beta" => request.beta = Some(number(name, value, "a number from 0 to 1")?),
            "explain" => request.explain = flag(name, value)?,
            "include_seen" => request.seen = Some(Seen::included(flag(name, value)?)),
            "text" => request.wishes.push(value.clone()),
            "session" => {
                let ids = item_ids(value, has_item);
                request.session.extend(ids.into_iter().map(SessionEvent::click));
            }
            "exclude" => {
                let ids = item_ids(value, has_item);
                request.exclude.extend(ids.into_iter().map(str::to_owned));
            }
            "category" => request.filter.categories.push(value.clone()),
            "merchant" => request.filter.merchants.push(value.clone()),
            "min_price" => request.filter.min_price = Some(number(name, value, "a price")?),
            "max_price" => request.filter.max_price = Some(number(name, value, "a price")?),
            "per_category" => request.per_category = Some(number(name, value, "a whole number")?),
            "per_merchant" => request.per_merchant = Some(number(name, value, "a whole number")?),
            "new_places" => {
                request.new_places = Some(number(name, value, "a whole number from 0 to 10")?);
            }
            _ => return Err(ApiError::parameter(name, value, KNOWN)),
        }
    }
    Ok(request)
}

fn item_ids<'a>(value: &'a str, has_item: &dyn Fn(&str) -> bool) -> Vec<&'a str> {
    if has_item(value) {
        return vec![value];
    }
    value.split(',').map(str::trim).filter(|id| !id.is_empty()).collect()
}

fn number<T: std::str::FromStr>(name: &str, value: &str, expected: &str) -> Result<T, ApiError> {
    value.parse().map_err(|_| ApiError::parameter(name, value, expected))
}

fn flag(name: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(ApiError::parameter(name, value, "true or false")),
    }
}
