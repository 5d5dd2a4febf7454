//! How long to wait before a failed call is tried again.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::LmError;
use crate::openai::config::OpenAiConfig;

/// The pause before retry number `attempt` (from 0), or none if another try is useless: the error will
/// not pass, or the server asks for more patience than `max_backoff_seconds`.
///
/// What the server asks for, otherwise `backoff * 2^attempt`, half of it drawn at random by the content
/// of the call, so that calls which failed together do not return together.
pub(super) fn pause(
    error: &LmError,
    attempt: u32,
    body: &Value,
    config: &OpenAiConfig,
) -> Option<Duration> {
    if !error.is_retryable() {
        return None;
    }
    let longest = Duration::from_secs_f64(config.max_backoff_seconds);
    if let LmError::HttpStatus { retry_after: Some(asked), .. } = error {
        return (*asked <= longest).then_some(*asked);
    }
    let seed = xxh3_64(body.to_string().as_bytes()) ^ u64::from(attempt);
    let jitter = Pcg64Mcg::seed_from_u64(seed).random_range(0.5..1.0);
    let seconds = config.backoff_seconds * 2f64.powi(attempt.min(32) as i32);
    Some(Duration::from_secs_f64(seconds.min(config.max_backoff_seconds) * jitter))
}

/// Reads `Retry-After` in seconds. Its other form, a date, is not used by language model servers and
/// reads as absent.
pub(super) fn parse_retry_after(value: &str) -> Option<Duration> {
    let seconds: f64 = value.trim().parse().ok()?;
    (0.0..=1e6).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{parse_retry_after, pause};
    use crate::error::LmError;
    use crate::openai::config::OpenAiConfig;

    fn status(status: u16, retry_after: Option<u64>) -> LmError {
        LmError::HttpStatus {
            url: String::new(),
            status,
            body: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn pauses_double_within_bounds() {
        let config = OpenAiConfig::new("http://h/v1", "m");
        let body = json!({ "model": "m" });
        for attempt in 0..12 {
            let got = pause(&status(500, None), attempt, &body, &config).unwrap().as_secs_f64();
            let full = (0.5 * 2f64.powi(attempt as i32)).min(60.0);
            assert!((full / 2.0..full).contains(&got), "{got} s at attempt {attempt}");
        }
        let first = |body| pause(&status(500, None), 0, &body, &config);
        assert_eq!(first(json!(1)), first(json!(1)));
        assert_ne!(first(json!(1)), first(json!(2)));
    }

    #[test]
    fn the_server_may_ask_but_not_for_ever() {
        let config = OpenAiConfig::new("http://h/v1", "m");
        let check = |error: LmError, want: Option<u64>| {
            let got = pause(&error, 0, &json!(0), &config);
            assert_eq!(got, want.map(Duration::from_secs), "{error:?}");
        };
        check(status(429, Some(7)), Some(7));
        check(status(429, Some(61)), None);
        check(status(400, Some(1)), None);
        check(LmError::EmptyPrompt, None);
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        let check = |text: &str, want: Option<f64>| {
            assert_eq!(parse_retry_after(text), want.map(Duration::from_secs_f64), "{text}");
        };
        check("3", Some(3.0));
        check(" 0.25 ", Some(0.25));
        check("-1", None);
        check("NaN", None);
        check("Wed, 21 Oct 2026 07:28:00 GMT", None);
    }
}
