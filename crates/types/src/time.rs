//! Time as an argument: a [`Timestamp`] in milliseconds, the [`Clock`] that gives one, and seasons.

use jiff::civil::Date;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};

/// Milliseconds of one day.
pub const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Days since the epoch (UTC), rounded down.
    #[must_use]
    pub fn day(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    /// The moment `days` later (earlier when negative).
    #[must_use]
    pub fn plus_days(self, days: i64) -> Self {
        Self(self.0.saturating_add(days.saturating_mul(DAY_MS)))
    }

    /// The calendar date in UTC; clamped to the years -9999 to 9999.
    #[must_use]
    pub fn date(self) -> Date {
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        Offset::UTC.to_datetime(moment).date()
    }

    /// Midnight UTC of a calendar date; `None` where the date does not exist.
    #[must_use]
    pub fn from_date(year: i16, month: i8, day: i8) -> Option<Self> {
        let date = Date::new(year, month, day).ok()?;
        let moment = Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
        Some(Self(moment.as_millisecond()))
    }

    /// RFC 3339 in UTC with seconds, such as `2026-11-23T09:00:00Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_second(self.0.div_euclid(1000))
            .map_or_else(|_| self.0.to_string(), |moment| moment.to_string())
    }

    /// The season on the northern half of the earth.
    #[must_use]
    pub fn season(self) -> Season {
        match self.date().month() {
            3..=5 => Season::Spring,
            6..=8 => Season::Summer,
            9..=11 => Season::Autumn,
            _ => Season::Winter,
        }
    }
}

/// A quarter of the year by meteorological months.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Season {
    /// March to May.
    Spring,
    /// June to August.
    Summer,
    /// September to November.
    Autumn,
    /// December to February.
    Winter,
}

impl Season {
    /// All seasons, from spring.
    pub const ALL: [Self; 4] = [Self::Spring, Self::Summer, Self::Autumn, Self::Winter];

    /// The lower-case English name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spring => "spring",
            Self::Summer => "summer",
            Self::Autumn => "autumn",
            Self::Winter => "winter",
        }
    }
}

/// Where a stage asks what time it is, so that a replay gives the same bytes.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// A clock that stands still.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Season, Timestamp};

    #[test]
    fn dates_days_and_seasons_follow_the_calendar() {
        let t = Timestamp::from_date(2024, 2, 29).expect("a leap day");
        assert_eq!(t.date().to_string(), "2024-02-29");
        assert_eq!(t.plus_days(1).date().to_string(), "2024-03-01");
        assert_eq!((t.season(), t.plus_days(1).season()), (Season::Winter, Season::Spring));
        assert_eq!(Timestamp(-1).day(), -1);
        assert_eq!(t.rfc3339(), "2024-02-29T00:00:00Z");
        assert!(Timestamp::from_date(2023, 2, 29).is_none());
    }
}
