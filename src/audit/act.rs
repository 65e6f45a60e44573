//! An administrative action, for the record: a policy in force, a token revoked, a cache purged.
//!
//! ```
//! use modgate::audit::act::Act;
//! use modgate::audit::name::Name;
//! use modgate::audit::name::Outcome;
//!
//! let act = Act::new(Name::PolicyActivate, Outcome::Allowed)
//!     .by("user:token:alice")
//!     .with("policy", "sha256:ab12")
//!     .with("before", "sha256:99fe");
//! # drop(act);
//! ```
//!
//! Hand it to [`crate::gateway::account::Accounts::administer`], which never waits, or to
//! [`crate::gateway::account::Accounts::administered`], which returns when the record is written.

use crate::audit::event::Event;
use crate::audit::name::Name;
use crate::audit::name::Outcome;

/// Who did what to the gateway, and what came of it.
#[derive(Debug, Clone)]
pub struct Act {
    name: Name,
    outcome: Outcome,
    actor: Option<String>,
    detail: Vec<(&'static str, String)>,
}

impl Act {
    /// An action by the gateway itself.
    pub fn new(name: Name, outcome: Outcome) -> Self {
        Self { name, outcome, actor: None, detail: Vec::new() }
    }

    /// The principal who did it.
    #[must_use]
    pub fn by(mut self, principal: impl Into<String>) -> Self {
        self.actor = Some(principal.into());
        self
    }

    /// One more member of `detail`. Never a secret.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<String>) -> Self {
        self.detail.push((member, value.into()));
        self
    }

    /// The event of this action, at a time (RFC 3339).
    pub fn event(self, time: String) -> Event {
        let mut event =
            Event::bare(time, self.name, uuid::Uuid::now_v7().to_string(), self.outcome);
        event.actor = self.actor.map(crate::audit::event::Actor::operator);
        event.detail = self.detail.into();
        event
    }
}
