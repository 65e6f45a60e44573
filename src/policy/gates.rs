//! Conditions after an allow: how the caller proved who they are, from where they come, and until when it holds. They
//! are looked at for every request and never remembered, because the next one may come from elsewhere.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::policy::rule::Effect;
use crate::policy::rule::Rule;

/// What a request comes with besides its caller: no decision that is remembered depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// The other end of the connection.
    pub source: IpAddr,
    /// When the head was complete.
    pub now: SystemTime,
}

/// A condition that every allow row it names must meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Gate {
    pub(in crate::policy) name: Arc<str>,
    methods: Vec<String>,
    networks: Vec<IpNet>,
    /// The first moment at which it does not hold.
    pub(in crate::policy) until: Option<SystemTime>,
}

/// The conditions of a policy, by the place of the row they bind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::policy) struct Gates(HashMap<usize, Vec<Gate>>);

/// A table of gates.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rules: Vec<String>,
    #[serde(default)]
    method: Vec<String>,
    #[serde(default)]
    cidr: Vec<String>,
    #[serde(default)]
    until: Option<toml::value::Datetime>,
}

impl Gates {
    /// Reads gates.toml, or says everything that is wrong with it.
    pub(in crate::policy) fn read(text: &str, rules: &[Rule]) -> Result<Self, Vec<String>> {
        let tables: BTreeMap<String, Written> =
            toml::from_str(text).map_err(|error| vec![placed(FILE, text, &error)])?;
        let places: HashMap<&str, usize> =
            rules.iter().enumerate().map(|(place, rule)| (rule.id.as_str(), place)).collect();
        let (mut gates, mut problems) = (Self::default(), Vec::new());
        for (name, written) in tables {
            let mut problem = |what: String| problems.push(format!("{FILE}: [{name}]: {what}"));
            let gate = match gate(&name, &written) {
                Ok(gate) => gate,
                Err(what) => {
                    problem(what);
                    continue;
                }
            };
            for id in &written.rules {
                match places.get(id.as_str()).and_then(|at| Some((*at, rules.get(*at)?))) {
                    Some((place, rule)) if rule.effect == Effect::Allow => {
                        gates.0.entry(place).or_default().push(gate.clone());
                    }
                    Some(_) => problem(format!("{id} is a deny row: a condition would weaken it")),
                    None => problem(format!("there is no rule {id}")),
                }
            }
        }
        if problems.is_empty() { Ok(gates) } else { Err(problems) }
    }

    /// The conditions of a row.
    pub(in crate::policy) fn of(&self, place: usize) -> &[Gate] {
        self.0.get(&place).map_or(&[], Vec::as_slice)
    }

    /// Whether no row has any.
    pub(in crate::policy) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Gate {
    /// Whether it holds for somebody of a realm, such as `oidc/ci`; if not, what is missing.
    pub(in crate::policy) fn check(
        &self,
        realm: &str,
        circumstances: &Circumstances,
    ) -> Result<(), &'static str> {
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method == realm) {
            return Err("another way of proving who you are");
        }
        // a socket for both families shows an IPv4 peer as ::ffff:a.b.c.d
        let source = circumstances.source.to_canonical();
        if !self.networks.is_empty() && !self.networks.iter().any(|net| net.contains(&source)) {
            return Err("another network");
        }
        if self.until.is_some_and(|until| circumstances.now >= until) {
            return Err("its time is over");
        }
        Ok(())
    }
}

fn gate(name: &str, written: &Written) -> Result<Gate, String> {
    let named = !name.is_empty()
        && name.len() <= NAME_LIMIT_BYTES
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !named {
        return Err("a name has at most 24 letters, digits, - _ and .".to_owned());
    }
    if written.rules.is_empty() {
        return Err("rules is empty: name the allow rows it binds".to_owned());
    }
    let networks: Result<Vec<IpNet>, String> = written.cidr.iter().map(|text| net(text)).collect();
    let until = written.until.as_ref().map(moment).transpose()?;
    let gate =
        Gate { name: Arc::from(name), methods: written.method.clone(), networks: networks?, until };
    if gate.methods.is_empty() && gate.networks.is_empty() && gate.until.is_none() {
        return Err("it asks for nothing: give method, cidr or until".to_owned());
    }
    Ok(gate)
}

fn net(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text
        .parse()
        .map_err(|_| format!("{text} is no network: write ADDRESS/BITS, such as 10.20.0.0/16"))?;
    if net.trunc() != net {
        return Err(format!("{text} has bits beyond its length: write {}", net.trunc()));
    }
    Ok(net)
}

/// A date is its first moment, UTC.
pub(in crate::policy) fn moment(written: &toml::value::Datetime) -> Result<SystemTime, String> {
    let text = match (written.date, written.time, written.offset) {
        (Some(date), None, None) => format!("{date}T00:00:00Z"),
        (Some(_), Some(_), Some(_)) => written.to_string(),
        _ => return Err(format!("until = {written}: write a date, or a time with its offset")),
    };
    let parsed = OffsetDateTime::parse(&text, &Rfc3339);
    parsed.map(SystemTime::from).map_err(|error| format!("until = {written}: {error}"))
}

/// A problem of TOML with its line and column.
pub(in crate::policy) fn placed(file: &str, text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    format!("{file}:{line}:{column}: {}", error.message().replace('\n', " "))
}

const FILE: &str = "gates.toml";
/// A name is printed in a refusal.
const NAME_LIMIT_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<Rule> {
        let rule = |id: &str, effect| Rule {
            id: id.to_owned(),
            subject: "any:authenticated".to_owned(),
            target: "public".to_owned(),
            range: "*".to_owned(),
            action: "read".to_owned(),
            effect,
        };
        vec![rule("open", Effect::Allow), rule("wall", Effect::Deny)]
    }

    fn at(source: &str, unix: u64) -> Circumstances {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(unix);
        Circumstances { source: source.parse().unwrap(), now }
    }

    #[test]
    fn a_condition_holds_for_its_method_its_network_and_its_time() {
        let text = "[ci]\nrules = [\"open\"]\nmethod = [\"oidc/ci\"]\ncidr = [\"10.20.0.0/16\", \"2001:db8::/32\"]\nuntil = 1970-01-02\n";
        let gates = Gates::read(text, &rules()).unwrap();
        let [gate] = gates.of(0) else { panic!("{gates:?}") };
        for (realm, source, unix, holds) in [
            ("oidc/ci", "10.20.3.4", 0, true),
            ("oidc/ci", "::ffff:10.20.3.4", 86_399, true),
            ("oidc/ci", "2001:db8::1", 0, true),
            ("oidc/ci2", "10.20.3.4", 0, false),
            ("oidc/ci", "10.21.3.4", 0, false),
            ("oidc/ci", "10.20.3.4", 86_400, false),
        ] {
            assert_eq!(
                gate.check(realm, &at(source, unix)).is_ok(),
                holds,
                "{realm} {source} {unix}"
            );
        }
        assert!(gates.of(1).is_empty());
    }

    #[test]
    fn what_is_no_condition_says_why() {
        for (text, why) in [
            ("[a]\nrules = [\"nobody\"]\nmethod = [\"mtls\"]\n", "there is no rule nobody"),
            ("[a]\nrules = [\"wall\"]\nmethod = [\"mtls\"]\n", "is a deny row"),
            ("[a]\nrules = [\"open\"]\n", "asks for nothing"),
            ("[a]\nrules = []\nmethod = [\"mtls\"]\n", "rules is empty"),
            ("[a]\nrules = [\"open\"]\ncidr = [\"10.0.0.1/8\"]\n", "write 10.0.0.0/8"),
            ("[a]\nrules = [\"open\"]\ncidr = [\"home\"]\n", "is no network"),
            ("[a]\nrules = [\"open\"]\nuntil = 2027-01-01T00:00:00\n", "with its offset"),
            ("[a]\nrules = [\"open\"]\nmethods = [\"mtls\"]\n", "gates.toml:3:1: unknown field"),
            ("[a]\nrules = [\"open\"]\nmethod = \"mtls\"\n", "gates.toml:3:10: invalid type"),
        ] {
            let told = Gates::read(text, &rules()).unwrap_err().join("\n");
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
