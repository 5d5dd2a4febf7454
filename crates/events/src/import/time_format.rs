//! How a log writes time: RFC 3339, epoch in seconds or milliseconds, or a pattern of strftime.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use types::Timestamp;

/// A way to write time; in TOML `auto`, `rfc3339`, `epoch_s`, `epoch_ms`, or a pattern with `%`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TimeFormat {
    /// Numbers are epochs, their size tells the unit; all else is ISO 8601.
    #[default]
    Auto,
    /// RFC 3339; without an offset it is UTC.
    Rfc3339,
    /// Seconds since 1970.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMillis,
    /// A pattern such as `%d.%m.%Y %H:%M`; without `%z` it is UTC.
    Pattern(String),
}

impl TimeFormat {
    /// Reads one value.
    ///
    /// # Errors
    /// What was expected and found, in words.
    pub fn parse(&self, text: &str) -> Result<Timestamp, String> {
        let millis = match self {
            Self::Auto => match text.parse::<f64>() {
                Ok(number) => epoch(number, unit_of(number)),
                Err(_) => iso(text),
            },
            Self::Rfc3339 => iso(text),
            Self::EpochSeconds => text.parse().ok().and_then(|n| epoch(n, 1000.0)),
            Self::EpochMillis => text.parse().ok().and_then(|n| epoch(n, 1.0)),
            Self::Pattern(pattern) => strptime(pattern, text),
        };
        millis.map(Timestamp).ok_or_else(|| format!("{text:?} is no time in {}", self.name()))
    }

    fn name(&self) -> &str {
        match self {
            Self::Auto => "ISO 8601 or epoch",
            Self::Rfc3339 => "RFC 3339",
            Self::EpochSeconds => "epoch_s",
            Self::EpochMillis => "epoch_ms",
            Self::Pattern(pattern) => pattern,
        }
    }
}

impl TryFrom<String> for TimeFormat {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "auto" => Ok(Self::Auto),
            "rfc3339" => Ok(Self::Rfc3339),
            "epoch_s" => Ok(Self::EpochSeconds),
            "epoch_ms" => Ok(Self::EpochMillis),
            _ if name.contains('%') => Ok(Self::Pattern(name)),
            _ => Err(format!(
                "time_format {name:?} is none of auto, rfc3339, epoch_s, epoch_ms, or a pattern with %"
            )),
        }
    }
}

impl From<TimeFormat> for String {
    fn from(format: TimeFormat) -> Self {
        match format {
            TimeFormat::Auto => "auto".to_owned(),
            TimeFormat::Rfc3339 => "rfc3339".to_owned(),
            TimeFormat::EpochSeconds => "epoch_s".to_owned(),
            TimeFormat::EpochMillis => "epoch_ms".to_owned(),
            TimeFormat::Pattern(pattern) => pattern,
        }
    }
}

/// Milliseconds per unit of an epoch of this size: seconds until the year 5138, then finer units.
fn unit_of(number: f64) -> f64 {
    match number.abs() {
        n if n < 1e11 => 1e3,
        n if n < 1e14 => 1.0,
        n if n < 1e17 => 1e-3,
        _ => 1e-6,
    }
}

fn epoch(number: f64, millis_per_unit: f64) -> Option<i64> {
    let millis = (number * millis_per_unit).floor();
    (millis.is_finite() && millis.abs() < 9e15).then_some(millis as i64) // whole numbers below 2^53
}

fn iso(text: &str) -> Option<i64> {
    let has_offset =
        text.ends_with(['Z', 'z']) || text.get(11..).is_some_and(|rest| rest.contains(['+', '-']));
    if has_offset {
        return text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    }
    utc(text.parse::<DateTime>().ok()?)
}

fn strptime(pattern: &str, text: &str) -> Option<i64> {
    let time = jiff::fmt::strtime::parse(pattern, text).ok()?;
    match time.to_timestamp() {
        Ok(moment) => Some(moment.as_millisecond()),
        Err(_) => match time.to_datetime() {
            Ok(moment) => utc(moment),
            Err(_) => utc(time.to_date().ok()?.at(0, 0, 0, 0)),
        },
    }
}

fn utc(moment: DateTime) -> Option<i64> {
    Offset::UTC.to_timestamp(moment).ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::TimeFormat;

    #[test]
    fn one_moment_in_every_writing() {
        const T: i64 = 1_291_191_960_000; // 2010-12-01 08:26:00 UTC
        let cases = [
            ("auto", "2010-12-01 08:26:00", Some(T)),
            ("auto", "2010-12-01T08:26:00Z", Some(T)),
            ("auto", "2010-12-01T10:26:00+02:00", Some(T)),
            ("auto", "2010-12-01 08:26", Some(T)),
            ("auto", "1291191960", Some(T)),
            ("auto", "1291191960.5", Some(T + 500)),
            ("auto", "1291191960000", Some(T)),
            ("auto", "1291191960000000", Some(T)),
            ("auto", "2010-12-01", Some(T - 30_360_000)),
            ("rfc3339", "2010-12-01T08:26:00Z", Some(T)),
            ("epoch_s", "1291191960", Some(T)),
            ("epoch_ms", "1291191960000", Some(T)),
            ("%d.%m.%Y %H:%M", "01.12.2010 08:26", Some(T)),
            ("%Y-%m-%d %H", "2010-12-01 08", Some(T - 1_560_000)),
            ("%d/%m/%Y", "01/12/2010", Some(T - 30_360_000)),
            ("auto", "2010-02-30", None),
            ("auto", "yesterday", None),
            ("auto", "", None),
            ("auto", "NaN", None),
            ("auto", "1e400", None),
            ("auto", "杭州杭州杭州", None),
            ("epoch_s", "2010-12-01", None),
        ];
        for (format, text, want) in cases {
            let format = TimeFormat::try_from(format.to_owned()).unwrap();
            assert_eq!(format.parse(text).ok().map(|t| t.0), want, "{format:?} {text:?}");
        }
        assert!(TimeFormat::try_from("unix".to_owned()).is_err());
    }
}
