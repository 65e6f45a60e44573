//! Time as a parameter: what o'clock it is, and how long something took.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use time::format_description::well_known::Rfc3339;

/// Where a station learns the time. Wall time is for records and expiry, [`Instant`] for durations.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock.
    fn now(&self) -> SystemTime;

    /// The monotonic clock.
    fn instant(&self) -> Instant;

    /// Seconds since 1970-01-01T00:00:00Z; 0 for a clock that stands before that.
    fn unix_seconds(&self) -> u64 {
        self.now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until it is told to go on; for tests of expiry.
#[derive(Debug)]
pub struct ManualClock {
    wall: SystemTime,
    start: Instant,
    gone: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at the given number of seconds since 1970.
    pub fn at_unix(seconds: u64) -> Self {
        Self {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            start: Instant::now(),
            gone: AtomicU64::new(0),
        }
    }

    /// Lets time pass, with millisecond precision.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.gone.fetch_add(millis, Ordering::SeqCst);
    }

    fn passed(&self) -> Duration {
        Duration::from_millis(self.gone.load(Ordering::SeqCst))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        self.wall + self.passed()
    }

    fn instant(&self) -> Instant {
        self.start + self.passed()
    }
}

/// A time as RFC 3339 in UTC with microseconds: `2026-10-01T12:00:00.123456Z`; what is before 1970 or past 9999 is the
/// nearest there is.
pub fn rfc3339_micros(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = i128::try_from(since.as_nanos()).unwrap_or(i128::MAX);
    let last = OffsetDateTime::new_utc(time::Date::MAX, time::Time::MAX);
    let at = OffsetDateTime::from_unix_timestamp_nanos(since).unwrap_or(last);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.microsecond()
    )
}

/// Seconds since 1970 as RFC 3339 in UTC: `2026-10-01T12:00:00Z`; empty for a year past 9999.
pub fn rfc3339_seconds(unix: u64) -> String {
    i64::try_from(unix)
        .ok()
        .and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// A time as HTTP has it in headers: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
pub fn http_date(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text.trim(), &Rfc2822).ok()
}

/// Whether a text is a time as RFC 3339 has it, with any offset.
pub fn is_rfc3339(text: &str) -> bool {
    // the go command takes capital T and Z only, and no leap seconds
    let plain = !text.contains(['t', 'z', ' ']) && text.get(17..19) != Some("60");
    plain && OffsetDateTime::parse(text, &Rfc3339).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_microseconds() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(rfc3339_micros(far), "9999-12-31T23:59:59.999999Z");
        let before = SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(rfc3339_micros(before), "1970-01-01T00:00:00.000000Z");
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_790_856_000_123_456);
        assert_eq!(rfc3339_micros(at), "2026-10-01T12:00:00.123456Z");
        assert_eq!(rfc3339_seconds(1_790_856_000), "2026-10-01T12:00:00Z");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at_unix(100);
        assert_eq!(clock.unix_seconds(), 100);
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.unix_seconds(), 105);
    }

    #[test]
    fn times_of_http_are_read() {
        let at = http_date("Sun, 06 Nov 1994 08:49:37 GMT").map(OffsetDateTime::unix_timestamp);
        assert_eq!(at, Some(784_111_777));
        assert_eq!(http_date("soon"), None);
    }

    #[test]
    fn rfc3339_takes_offsets_and_refuses_dates() {
        assert!(is_rfc3339("2024-01-02T03:04:05+02:00"));
        assert!(is_rfc3339("2024-01-02T03:04:05.123Z"));
        assert!(!is_rfc3339("2024-01-02"));
        assert!(!is_rfc3339("yesterday"));
    }

    #[test]
    fn a_time_is_one_that_the_go_command_reads() {
        for good in
            ["2024-01-02T03:04:05Z", "2024-01-02T03:04:05.123456789Z", "2024-01-02T03:04:05+02:00"]
        {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "2024-01-02t03:04:05z",
            "2024-01-02 03:04:05Z",
            "2016-12-31T23:59:60Z",
            "yesterday",
            "",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }
}
