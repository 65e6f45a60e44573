//! What happened apart from answers, as events of the audit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;
use std::time::Instant;

use uuid::Uuid;

use crate::audit::Class;
use crate::audit::event::Actor;
use crate::audit::event::Event;
use crate::audit::event::Source;
use crate::audit::name::Name;
use crate::audit::name::Outcome;
use crate::clock::rfc3339_micros;
use crate::gateway::account::Accounts;
use crate::gateway::account::told::spoken;
use crate::telemetry::happening::Ear;
use crate::telemetry::happening::Happening;
use crate::telemetry::happening::What;

/// Writes into the audit whatever it hears of, as long as there are accounts. It does not keep them: the audit ends when
/// their last handle is gone.
#[derive(Debug)]
pub struct Chronicle {
    accounts: Weak<Accounts>,
    told: Mutex<HashMap<(What, String), Instant>>,
}

impl Chronicle {
    /// Over accounts.
    pub fn of(accounts: &Arc<Accounts>) -> Self {
        Self { accounts: Arc::downgrade(accounts), told: Mutex::default() }
    }

    /// Whether the same was told not long ago; what is forgotten is told once more.
    fn was_told(&self, happening: &Happening, now: Instant) -> bool {
        if !happening.what.is_seen_by_every_request() {
            return false;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD {
            told.clear();
        }
        let key = (happening.what, happening.about.clone());
        if told.get(&key).is_some_and(|at| now.duration_since(*at) < QUIET) {
            return true;
        }
        told.insert(key, now);
        false
    }
}

impl Ear for Chronicle {
    fn hear(&self, happening: Happening) {
        let Some(accounts) = self.accounts.upgrade() else { return };
        if self.was_told(&happening, accounts.clock.instant()) {
            return;
        }
        let time = rfc3339_micros(accounts.clock.now());
        accounts.audit.reserve_now(Class::Admin).append(event(happening, time));
    }
}

fn event(happening: Happening, time: String) -> Event {
    let Happening { what, about, who, source, why } = happening;
    let (name, outcome) = meaning(what);
    let mut event = Event::bare(time, name, Uuid::now_v7().to_string(), outcome);
    let mut detail = vec![("about", about)];
    if name == Name::LdapBreaker {
        let state = if what == What::DirectoryDown { "open" } else { "closed" };
        detail.push(("state", state.to_owned()));
    }
    detail.extend(why.map(|why| ("why", why)));
    event.detail = detail.into();
    let (id, spoken) = spoken(who);
    event.actor = id.map(|id| Actor { id: Some(id), name: spoken, ..Actor::of("ldap", "locked") });
    event.source =
        source.map(|ip| Source { ip: ip.to_string(), port: 0, transport: "tls", ua: None });
    event
}

const fn meaning(what: What) -> (Name, Outcome) {
    match what {
        What::DependencyDown => (Name::DependencyDown, Outcome::Failed),
        What::DependencyUp => (Name::DependencyUp, Outcome::Allowed),
        What::UpstreamTls => (Name::UpstreamTls, Outcome::Failed),
        What::EgressRefused => (Name::EgressRefused, Outcome::Denied),
        What::KeysChanged => (Name::JwksRotate, Outcome::Allowed),
        What::KeysFailed => (Name::JwksFail, Outcome::Failed),
        What::DirectoryFailover => (Name::LdapFailover, Outcome::Allowed),
        What::DirectoryDown => (Name::LdapBreaker, Outcome::Failed),
        What::DirectoryUp => (Name::LdapBreaker, Outcome::Allowed),
        What::LockedOut => (Name::AuthLockout, Outcome::Throttled),
        What::TokenIssued => (Name::TokenIssue, Outcome::Allowed),
        What::TokenRevoked => (Name::TokenRevoke, Outcome::Allowed),
    }
}

/// What every failing request sees is told once in this time.
const QUIET: Duration = Duration::from_mins(1);
/// Pairs of what and whom that are remembered for that.
const TOLD: usize = 1024;
