//! The seam behind which every way of proving an identity stands.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::identity::IdentityError;
use crate::identity::attempts::Locked;
use crate::identity::caller::Caller;
use crate::identity::credentials::Credentials;

/// One way of proving who one is.
pub trait Authenticator: Send + Sync + fmt::Debug {
    /// Whether credentials of this shape are this one's to judge. Shapes do not overlap.
    fn takes(&self, credentials: &Credentials) -> bool;

    /// Looks at what may have changed although nobody showed a proof, so that it can be told of. May block.
    fn look(&self) {}

    /// How much is locked just now after wrong passwords.
    fn locked(&self) -> Locked {
        Locked::default()
    }

    /// Judges. Refusals are 401 with a reason for the audit; "cannot judge now" is another error, 503.
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
        source: IpAddr,
    ) -> BoxFuture<'a, Result<Arc<Caller>, IdentityError>>;
}
