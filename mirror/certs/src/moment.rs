//! Points in time as certificates know them: whole seconds, before 1970 too.
//!
//! Arithmetic saturates. A clock that jumps by centuries makes a wrong plan, which a right clock mends; it must not end the process.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A second of the wall clock.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(i64);

impl Moment {
    /// The last one that can be written as a date with four digits for the year.
    pub const END: Self = Self(253_402_300_799);

    /// Seconds since 1970.
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// From `earlier` to here; zero where that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// How long something lasts, as people say it: `12 days`, `7 hours`.
pub fn in_words(duration: Duration) -> String {
    let hours = duration.as_secs() / 3600;
    if hours >= 48 { format!("{} days", hours / 24) } else { format!("{hours} hours") }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(seconds(after)),
            Err(before) => Self(-seconds(before.duration())),
        }
    }
}

impl From<Moment> for SystemTime {
    /// Dates that the system cannot hold become 1970.
    fn from(moment: Moment) -> Self {
        let distance = Duration::from_secs(moment.0.unsigned_abs());
        let time = if moment.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
        time.unwrap_or(UNIX_EPOCH)
    }
}

impl fmt::Display for Moment {
    /// As RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writable = Self(self.0.clamp(0, Self::END.0));
        humantime::format_rfc3339_seconds(writable.into()).fmt(f)
    }
}

impl FromStr for Moment {
    type Err = humantime::TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339(text).map(Self::from)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_days_and_more_are_said_in_days() {
        let hours = |hours: u64| in_words(Duration::from_secs(hours * 3600 + 3599));
        assert_eq!([hours(7), hours(47), hours(48), hours(300)], ["7 hours", "47 hours", "2 days", "12 days"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0..Moment::END.unix()) {
            let moment = Moment::from_unix(seconds);
            prop_assert_eq!(moment.to_string().parse::<Moment>(), Ok(moment));
            prop_assert_eq!(Moment::from(SystemTime::from(moment)), moment);
        }

        #[test]
        fn no_arithmetic_panics(seconds: i64, other: i64, duration: u64) {
            let (one, other) = (Moment::from_unix(seconds), Moment::from_unix(other));
            let duration = Duration::from_secs(duration);
            let _ = (one + duration, one - duration, one.since(other), one.to_string(), SystemTime::from(one));
        }
    }
}
