//! The gateway's own pages: who am I here, may I have this and why, and how do I set up my `go`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::gateway::Error;
use crate::goproxy::path::ModulePath;
use crate::goproxy::request;
use crate::goproxy::request::Request;
use crate::goproxy::version::Version;
use crate::head::Head;
use crate::policy::Policy;
use crate::policy::decision::Permit;
use crate::policy::decision::Right;
use crate::policy::explain::Ask;
use crate::policy::explain::View;
use crate::policy::explain::Who;
use crate::policy::gates::Circumstances;

/// A page as it is sent.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its media type.
    pub media_type: &'static str,
    /// Its text.
    pub text: String,
}

/// What the pages know of the configuration.
#[derive(Debug, Clone)]
pub struct Own {
    public_url: String,
    private: Vec<String>,
    sumdb: Vec<String>,
}

impl Own {
    /// `public_url` is how callers reach us, without a slash at the end; `private` are the private prefixes.
    pub fn new(public_url: String, private: Vec<String>, sumdb: Vec<String>) -> Self {
        Self { public_url, private, sumdb }
    }

    /// The page a permit permits, or `None` for a request that is not for a page.
    pub fn page(
        &self,
        permit: &Permit,
        head: &Head,
        policy: &Policy,
    ) -> Result<Option<Page>, Error> {
        let page = match permit.request() {
            Request::Module(_) | Request::Sumdb(_) => return Ok(None),
            Request::Root => plain("modgate\n".to_owned()),
            Request::Own(request::Own::Whoami) => whoami(permit),
            Request::Own(request::Own::Env) => plain(self.env()),
            Request::Own(request::Own::Why) => why(permit, head, policy)?,
            Request::Own(request::Own::Audit | request::Own::AuditExport) => {
                return Err(Error::Defect("a question to the audit"));
            }
        };
        Ok(Some(page))
    }

    /// Lines for a shell, and what netrc needs.
    fn env(&self) -> String {
        let mut text = String::new();
        let host = self.public_url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = host.split('/').next().unwrap_or_default();
        let name = authority.rsplit_once(':').map_or(authority, |(name, _port)| name);
        let sumdb = if self.sumdb.is_empty() { "GOSUMDB=off\n" } else { "" };
        let private = self.private.join(",");
        // writing to a string cannot fail
        let _written = write!(text, "GOPROXY={}\n{sumdb}", self.public_url);
        if !private.is_empty() {
            let _written = write!(text, "GONOSUMDB={private}\nGONOPROXY=none\n");
        }
        let _written = writeln!(text, "# netrc (HOME/.netrc, mode 0600), for go 1.21 and newer:");
        let _written = writeln!(text, "# machine {authority} login token password mgt_...");
        if name != authority {
            let _written = writeln!(text, "# and for go up to 1.19:");
            let _written = writeln!(text, "# machine {name} login token password mgt_...");
        }
        text
    }
}

fn plain(text: String) -> Page {
    Page { media_type: "text/plain; charset=utf-8", text }
}

fn whoami(permit: &Permit) -> Page {
    let caller = permit.caller();
    let obtained: BTreeMap<_, _> = caller.groups_obtained().collect();
    let told = serde_json::json!({
        "principal": caller.principal(),
        "groups": caller.groups(),
        "obtained": obtained,
        "method": crate::telemetry::labels::Label::text(caller.method()),
        "detail": caller.detail(),
        "limited_to": caller.limits(),
    });
    Page { media_type: "application/json", text: format!("{told:#}\n") }
}

/// `/-/why?module=M[&version=V][&action=A]`: the policy's answer for this very caller, without asking anybody for the
/// module. With `as=PRINCIPAL` and any number of `group=GROUP` for somebody else, which needs the right to read the policy.
fn why(permit: &Permit, head: &Head, policy: &Policy) -> Result<Page, Error> {
    let query = head.query.as_deref().unwrap_or_default().as_bytes();
    let pairs: Vec<_> = url::form_urlencoded::parse(query).collect();
    let asked = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
    let path = asked("module").and_then(|path| ModulePath::parse(path).ok());
    let path = path.ok_or(Error::Page("which module? ask /-/why?module=PATH&version=VERSION"))?;
    let version = match asked("version") {
        None => None,
        Some(version) => {
            let parsed = Version::parse(version).ok();
            Some(parsed.ok_or(Error::Page("version is not canonical: vMAJOR.MINOR.PATCH"))?)
        }
    };
    let groups = pairs.iter().filter(|(key, _)| key == "group").map(|(_, value)| value.to_string());
    let groups: Vec<String> = groups.collect();
    let (who, view) = match asked("as") {
        None => (Who::Caller(permit.caller()), View::Own),
        Some(principal) => {
            permit.operates(Right::PolicyRead)?;
            (Who::Named(principal, &groups), View::All)
        }
    };
    let ask = Ask {
        who,
        path: &path,
        version: version.as_ref(),
        action: asked("action"),
        circumstances: Circumstances { source: head.peer.address.ip(), now: head.received },
        view,
    };
    let explained = policy.explain(ask).map_err(|_| Error::Page(ACTIONS))?;
    Ok(plain(explained.to_string()))
}

const ACTIONS: &str = "no such action: list, download, sumdb or admit";
