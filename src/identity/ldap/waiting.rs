//! How many logins may wait for a directory.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// A login that waits or runs; there is a bound to their number.
pub(in crate::identity::ldap) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// A place among them; `None` if there is none left.
    pub(in crate::identity::ldap) fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, Ordering::SeqCst) < WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Logins that run or wait; beyond that the answer is 503 at once.
const WAITING: usize = 288;
