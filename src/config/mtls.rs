//! `[identity.mtls]`: client certificates, for sidecars and other machines; `go` itself sends none.

use std::path::PathBuf;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::problem::Wrong;
use crate::config::reader::Reader;
use crate::config::source::Form;
use crate::config::units;

/// Client certificates.
#[derive(Debug, Clone)]
pub struct Mtls {
    /// PEM: the authorities whose certificates are looked at; the system's never are.
    pub ca_file: PathBuf,
    /// PEM: what they took back.
    pub crl_file: Option<PathBuf>,
    /// Which name in a certificate is which caller.
    pub names: Vec<CertificateName>,
}

/// A name in a certificate, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateName {
    /// `uri:…` or `dns:…`, as it stands in the subject alternative names.
    pub san: String,
    /// The caller is `user:mtls:NAME`.
    pub name: String,
}

/// `[identity.mtls]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "identity.mtls",
    times: Times::Once,
    doc: "Client certificates, for sidecars and other machines: go itself sends none. A header with \
          credentials wins over a certificate.",
    keys: &[
        Key {
            name: "ca_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/clients-ca.pem" },
            doc: "A PEM file of the authorities whose certificates are taken; without it none are.",
        },
        Key {
            name: "crl_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/clients.crl" },
            doc: "A PEM file of revoked certificates; read again when it changes.",
        },
        Key {
            name: "names",
            form: Form::List,
            preset: Preset::Value(""),
            doc: "Whose certificate it is: uri:URI=NAME or dns:HOST=NAME, exactly as it stands in the \
                  subject alternative names. The caller is user:mtls:NAME.",
        },
    ],
};

#[expect(clippy::option_option, reason = "a problem is not the same as nothing given")]
pub(in crate::config) fn read(reader: &mut Reader) -> Option<Option<Mtls>> {
    let mut table = reader.section(&SECTION);
    let ca_file = table.maybe("ca_file", units::file);
    let crl_file = table.maybe("crl_file", units::file);
    let names = table.list("names", name);
    let (ca_file, crl_file, names) = (ca_file?, crl_file?, names?);
    match ca_file {
        Some(ca_file) => Some(Some(Mtls { ca_file, crl_file, names })),
        None if names.is_empty() && crl_file.is_none() => Some(None),
        None => {
            table.wrong(
                "ca_file",
                Wrong::new("is missing", "give the authorities of client certificates"),
            );
            None
        }
    }
}

fn name(text: &str) -> Result<CertificateName, Wrong> {
    let bad =
        || Wrong::value(text, "is no name of a certificate", "write uri:URI=NAME or dns:HOST=NAME");
    let (san, name) = text.rsplit_once('=').ok_or_else(bad)?;
    let known = san.strip_prefix("uri:").or_else(|| san.strip_prefix("dns:"));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if known.is_none_or(str::is_empty) || name.is_empty() || !name.bytes().all(plain) {
        return Err(bad());
    }
    Ok(CertificateName { san: san.to_owned(), name: name.to_owned() })
}
