//! What an answer loses before it is shown: a list the versions this caller may not have, and `@latest` becomes the
//! highest that is left. What a query turned out to be is decided again.
//!
//! A version that is hidden may retract others: `go` learns that from the go.mod of the latest version, and would
//! recommend a retracted one if that go.mod were hidden from it. So the gateway reads it itself, shows it to nobody, and
//! hides what it retracts as well.

use bytes::Bytes;

use crate::content::Content;
use crate::fault::Fault as _;
use crate::fault::Kind;
use crate::gateway::Error;
use crate::gateway::fetch::Fetcher;
use crate::goproxy::artifact::Artifact;
use crate::goproxy::gomod::retract;
use crate::goproxy::gomod::retract::Retractions;
use crate::goproxy::list;
use crate::goproxy::list::Line;
use crate::goproxy::request::Request;
use crate::goproxy::version::Version;
use crate::policy::decision::Permit;
use crate::policy::decision::Refusal;
use crate::sumdb::Verified;
use crate::telemetry::record::Record;

impl Fetcher {
    /// Takes from an answer what this caller may not see; authorizes again what a query turned out to be.
    ///
    /// Cancel safety: as for [`Fetcher::fetch`].
    pub(in crate::gateway) async fn narrow(
        &self,
        permit: &Permit,
        verified: Verified,
        record: &Record,
    ) -> Result<Verified, Error> {
        let Request::Module(asked) = permit.request() else { return Ok(verified) };
        let named = || verified.basis().names().ok_or(Error::Defect("an info without a version"));
        match &asked.artifact {
            Artifact::List => match self.left(permit, &verified, record).await? {
                None => Ok(verified),
                Some(lines) => {
                    Ok(Verified::narrowed(Content::from_bytes(Bytes::from(list::render(&lines)))))
                }
            },
            Artifact::Latest => match permit.resolve(named()?) {
                Ok(()) => Ok(verified),
                Err(refusal) => self.highest_left(permit, refusal, record).await,
            },
            Artifact::Query(_) => {
                permit.resolve(named()?)?;
                Ok(verified)
            }
            Artifact::Info(_) | Artifact::Mod(_) | Artifact::Zip(_) => Ok(verified),
        }
    }

    /// The lines of a list that this caller is shown; `None` for all of them.
    async fn left(
        &self,
        permit: &Permit,
        list: &Verified,
        record: &Record,
    ) -> Result<Option<Vec<Line>>, Error> {
        if !permit.tells_versions_apart() {
            return Ok(None);
        }
        let lines = lines(permit, list)?;
        let mut left: Vec<Line> = Vec::with_capacity(lines.len());
        for some in lines.chunks(AT_ONCE) {
            let shown = |line: &&Line| permit.allows_version(&line.version);
            left.extend(some.iter().filter(shown).cloned());
            self.tasks().give_way().await;
        }
        if left.len() == lines.len() {
            return Ok(None);
        }
        let latest = highest(&lines).filter(|latest| !permit.allows_version(latest));
        if let Some(hidden) = latest.filter(|_| !left.is_empty()) {
            let retracted = self.retracted(permit, hidden, record).await?;
            left.retain(|line| !retracted.covers(&line.version));
        }
        Ok(Some(left))
    }

    /// The info of the highest version that is left, its bytes unchanged; if none is, the refusal of the latest one.
    async fn highest_left(
        &self,
        permit: &Permit,
        refusal: Refusal,
        record: &Record,
    ) -> Result<Verified, Error> {
        let listing = permit.also(Artifact::List)?;
        let list = match self.fetch(&listing, record).await {
            Ok(list) => list,
            // a module without a list has no version but the refused one
            Err(fault) if fault.kind() == Kind::NotFound => return Err(refusal.into()),
            Err(fault) => return Err(fault),
        };
        let left = match self.left(&listing, &list, record).await? {
            Some(left) => left,
            None => lines(&listing, &list)?,
        };
        let Some(best) = highest(&left) else { return Err(refusal.into()) };
        let info = permit.also(Artifact::Info(best.clone()))?;
        self.fetch(&info, record).await
    }

    /// What the go.mod of a hidden version retracts. One that no upstream has retracts nothing.
    async fn retracted(
        &self,
        permit: &Permit,
        hidden: &Version,
        record: &Record,
    ) -> Result<Retractions, Error> {
        let told = record.facts();
        let fetched = self.fetch(&permit.for_retractions(hidden), record).await;
        // the answer is the list: how the gateway came by what it shows to nobody is nobody's either
        record.note(|facts| (facts.cache, facts.tier) = (told.cache, told.tier));
        let gomod = match fetched {
            Ok(gomod) => gomod,
            // of one that is only not held nobody knows what it retracts
            Err(Error::NotHeld) => return Err(Error::NotHeld),
            Err(fault) if matches!(fault.kind(), Kind::NotFound | Kind::Gone) => {
                return Ok(Retractions::default());
            }
            Err(fault) => return Err(fault),
        };
        let unread = |_| Error::Defect("a go.mod was not in memory");
        let bytes = gomod.content().to_bytes(GOMOD_LIMIT_BYTES).map_err(unread)?;
        Ok(retract::read(&bytes))
    }
}

fn lines(permit: &Permit, list: &Verified) -> Result<Vec<Line>, Error> {
    let Request::Module(asked) = permit.request() else { return Ok(Vec::new()) };
    let unread = |_| Error::Defect("a list was not in memory");
    Ok(list::read(&list.content().to_bytes(u64::MAX).map_err(unread)?, &asked.path))
}

/// What `go` takes for the latest of a list: a release before any prerelease, and one that is no `+incompatible`
/// before one that is.
fn highest(lines: &[Line]) -> Option<&Version> {
    let rank = |version: &Version| (!version.is_incompatible(), !version.is_prerelease());
    let versions = lines.iter().map(|line| &line.version);
    versions.max_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)))
}

/// Versions that are judged in one go: a new decision takes microseconds, and lists have thousands of versions.
const AT_ONCE: usize = 128;
/// The go command's own limit.
const GOMOD_LIMIT_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_release_is_the_latest_before_prereleases_and_incompatible_ones() {
        for (versions, wanted) in [
            (&["v1.0.0", "v1.2.0", "v1.3.0-rc.1"][..], Some("v1.2.0")),
            (&["v1.0.0-rc.1", "v1.0.0-rc.2"], Some("v1.0.0-rc.2")),
            (&["v1.0.0", "v2.0.0+incompatible"], Some("v1.0.0")),
            (&["v1.0.0-rc.1", "v2.0.0+incompatible"], Some("v1.0.0-rc.1")),
            (&["v2.0.0+incompatible", "v3.0.0+incompatible"], Some("v3.0.0+incompatible")),
            (&[], None),
        ] {
            let line = |text: &&str| Line { version: Version::parse(text).unwrap(), time: None };
            let lines: Vec<Line> = versions.iter().map(line).collect();
            assert_eq!(highest(&lines).map(Version::as_str), wanted, "{versions:?}");
        }
    }
}
