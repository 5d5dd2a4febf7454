//! Query parameters of a recommendation, read strictly: an unknown or repeated name is an error.

use types::Catalogue;

use super::errors::ApiError;
use crate::{RecommendRequest, Seen};

/// The request that path and query ask for.
///
/// `exclude` may stand several times; each value is an item id, or several between commas when it is not
/// an id of the catalogue itself.
pub(super) fn recommend_request(
    user_id: &str,
    pairs: &[(String, String)],
    catalogue: &Catalogue,
) -> Result<RecommendRequest, ApiError> {
    let mut request = RecommendRequest::new(user_id);
    let mut given: Vec<&str> = Vec::new();
    for (name, value) in pairs {
        if name != "exclude" && given.contains(&name.as_str()) {
            return Err(ApiError::parameter(name, value, "given once"));
        }
        given.push(name);
        match name.as_str() {
            "n" => request.n = number(name, value, "a whole number from 1 to 200")?,
            "beta" => request.beta = Some(number(name, value, "a number from 0 to 1")?),
            "explain" => request.explain = flag(name, value)?,
            "include_seen" => {
                request.seen = if flag(name, value)? { Seen::Include } else { Seen::Exclude };
            }
            "exclude" if catalogue.find(value).is_some() => request.exclude.push(value.clone()),
            "exclude" => {
                let ids = value.split(',').map(str::trim).filter(|id| !id.is_empty());
                request.exclude.extend(ids.map(str::to_owned));
            }
            _ => {
                let known = "one of n, beta, explain, exclude, include_seen";
                return Err(ApiError::parameter(name, value, known));
            }
        }
    }
    Ok(request)
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
