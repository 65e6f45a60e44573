//! Client certificates: a name in a certificate that the handshake verified is a caller by an exact map, or nobody.

use std::sync::Arc;

use crate::config::mtls::CertificateName;
use crate::head::Certificate;
use crate::identity::IdentityError;
use crate::identity::caller::Caller;
use crate::identity::caller::encode_name;
use crate::telemetry::labels::AuthMethod;
use crate::telemetry::labels::AuthResult;
use crate::telemetry::record::Proof;

/// Whose certificate it is.
#[derive(Debug, Clone, Default)]
pub struct Certificates(Vec<CertificateName>);

impl Certificates {
    /// From the configured names.
    pub fn new(names: Vec<CertificateName>) -> Self {
        Self(names)
    }

    /// The caller of a certificate. One whose names are in no map, or in several, is refused.
    pub(in crate::identity) fn judge(
        &self,
        certificate: &Certificate,
    ) -> Result<Arc<Caller>, IdentityError> {
        let known = self.0.iter().filter(|known| certificate.names.contains(&known.san));
        let mut mapped: Vec<_> = known.collect();
        mapped.dedup_by_key(|known| &known.name);
        let [CertificateName { name, san }] = mapped.as_slice() else {
            let (method, result) = (AuthMethod::Mtls, AuthResult::BadCredentials);
            let said = certificate.names.join(" ");
            let detail = format!(
                "certificate {}: no name of it is mapped, or several: {said}",
                certificate.sha256
            );
            return Err(IdentityError::Refused { method, result, detail, who: None });
        };
        let principal = format!("user:mtls:{}", encode_name(name));
        let detail = format!("certificate {}", certificate.sha256);
        let proof = Proof {
            certificate: Some((certificate.sha256.clone(), san.clone())),
            ..Proof::default()
        };
        let caller = Caller::recognised(principal, Vec::new(), AuthMethod::Mtls, detail);
        Ok(Arc::new(caller.proved(proof)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(names: &[&str]) -> Option<String> {
        let map =
            |san: &str, name: &str| CertificateName { san: san.to_owned(), name: name.to_owned() };
        let known = Certificates::new(vec![
            map("uri:spiffe://corp.example/ci", "ci"),
            map("dns:ci.corp.example", "ci"),
            map("dns:other.corp.example", "other"),
        ]);
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = Certificate { names, sha256: String::new() };
        known.judge(&certificate).ok().map(|caller| caller.principal().to_owned())
    }

    #[test]
    fn exactly_one_caller_must_come_of_the_names() {
        assert_eq!(judged(&["uri:spiffe://corp.example/ci"]).as_deref(), Some("user:mtls:ci"));
        assert_eq!(
            judged(&["dns:ci.corp.example", "dns:unknown"]).as_deref(),
            Some("user:mtls:ci")
        );
        for refused in [
            &[][..],
            &["dns:CI.corp.example"],
            &["uri:dns:ci.corp.example"],
            &["dns:ci.corp.example", "dns:other.corp.example"],
        ] {
            assert_eq!(judged(refused), None, "{refused:?}");
        }
    }
}
