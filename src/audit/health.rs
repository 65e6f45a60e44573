//! What the writer tells the rest of the gateway: whether it writes, why not, and how much was lost meanwhile.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// How the writer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It writes.
    Well,
    /// The disk is full; what is under way is written into the reserve.
    Full,
    /// Nothing may be written there: a read-only file system, or missing rights.
    Refused,
    /// Something else is wrong with the files.
    Broken,
    /// No directory answers.
    Hanging,
}

impl Condition {
    const ALL: [Self; 5] = [Self::Well, Self::Full, Self::Refused, Self::Broken, Self::Hanging];

    /// Why nothing is written, for those who wait.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Well => "it is too slow",
            Self::Full => "its disk is full",
            Self::Refused => "its directory cannot be written",
            Self::Broken => "its files cannot be written",
            Self::Hanging => "none of its directories answers",
        }
    }

    /// What an error of a file means.
    pub fn of(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge => Self::Full,
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                Self::Refused
            }
            std::io::ErrorKind::TimedOut => Self::Hanging,
            _ => Self::Broken,
        }
    }
}

/// Events that were lost, until a record says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) struct Lost {
    pub(in crate::audit) count: u64,
    pub(in crate::audit) from: SystemTime,
    pub(in crate::audit) to: SystemTime,
}

/// Shared by the writer and every handle.
#[derive(Debug, Default)]
pub(in crate::audit) struct Health {
    condition: AtomicU8,
    lost: Mutex<Option<Lost>>,
}

impl Health {
    pub(in crate::audit) fn condition(&self) -> Condition {
        let place = usize::from(self.condition.load(Ordering::Relaxed));
        Condition::ALL.get(place).copied().unwrap_or(Condition::Broken)
    }

    /// Notes how the writer stands; gives how it stood before.
    pub(in crate::audit) fn set(&self, condition: Condition) -> Condition {
        let before = self.condition();
        let place = Condition::ALL.iter().position(|known| *known == condition).unwrap_or(0);
        self.condition.store(u8::try_from(place).unwrap_or(0), Ordering::Relaxed);
        before
    }

    /// Counts an event that is lost.
    pub(in crate::audit) fn lose(&self, now: SystemTime) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let before = lost.unwrap_or(Lost { count: 0, from: now, to: now });
        *lost = Some(Lost { count: before.count + 1, to: now, ..before });
    }

    /// Takes what was lost, to record it.
    pub(in crate::audit) fn take_lost(&self) -> Option<Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_counted_from_the_first_to_the_last_and_told_once() {
        let (health, start) = (Health::default(), SystemTime::UNIX_EPOCH);
        let later = start + std::time::Duration::from_secs(5);
        assert_eq!(health.take_lost(), None);
        health.lose(start);
        health.lose(later);
        assert_eq!(health.take_lost(), Some(Lost { count: 2, from: start, to: later }));
        assert_eq!(health.take_lost(), None);
        assert_eq!(health.set(Condition::Full), Condition::Well);
        assert_eq!(health.condition(), Condition::Full);
    }
}
