//! What an answer loses before it is shown, and the second decision about what a query turned out to be.

use bytes::Bytes;

use crate::content::Content;
use crate::gateway::Error;
use crate::goproxy::artifact::Artifact;
use crate::goproxy::list;
use crate::goproxy::request::Request;
use crate::policy::decision::Permit;
use crate::sumdb::Verified;

/// Takes from an answer what this caller may not see; authorizes again what a query turned out to be.
pub(in crate::gateway) fn narrow(permit: &Permit, verified: Verified) -> Result<Verified, Error> {
    let Request::Module(asked) = permit.request() else { return Ok(verified) };
    match &asked.artifact {
        Artifact::List => {
            let unread = |_| Error::Defect("a list was not in memory");
            let body = verified.content().to_bytes(u64::MAX).map_err(unread)?;
            let mut lines = list::read(&body, &asked.path);
            let all = lines.len();
            lines.retain(|line| permit.allows_version(&line.version));
            if lines.len() == all {
                return Ok(verified);
            }
            Ok(Verified::narrowed(Content::from_bytes(Bytes::from(list::render(&lines)))))
        }
        Artifact::Latest | Artifact::Query(_) => {
            let named =
                verified.basis().names().ok_or(Error::Defect("an info without a version"))?;
            permit.resolve(named)?;
            Ok(verified)
        }
        Artifact::Info(_) | Artifact::Mod(_) | Artifact::Zip(_) => Ok(verified),
    }
}
