//! The credential of a request, taken from its head and told apart by shape alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::secret::Secret;
use crate::head::Head;

/// What a request shows as proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A gateway token.
    GatewayToken(Secret<String>),
    /// A JSON web token, or what is said to be one.
    Jwt(Secret<String>),
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret<String>,
    },
}

/// Why the head's credentials cannot be read. No variant carries what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Two `Authorization` fields.
    #[error("two Authorization headers in one request")]
    Two,
    /// Neither Basic nor Bearer.
    #[error("the Authorization scheme is neither Basic nor Bearer")]
    Scheme,
    /// Not ASCII, not base64, or without a colon.
    #[error("the Authorization header cannot be read")]
    Unreadable,
    /// Over a limit.
    #[error("the credential is too long")]
    TooLong,
    /// A name with control characters.
    #[error("the user name holds control characters")]
    Name,
}

impl Credentials {
    /// Reads the head. `jwt_user_names` are the Basic user names whose password is a JSON web token.
    pub fn from_head(head: &Head, jwt_user_names: &[String]) -> Result<Self, CredentialsError> {
        let value = match head.authorization.as_slice() {
            [] => return Ok(Self::None),
            [value] => value.expose(),
            [_, _, ..] => return Err(CredentialsError::Two),
        };
        if value.len() > HEADER_LIMIT_BYTES {
            return Err(CredentialsError::TooLong);
        }
        let text = std::str::from_utf8(value).map_err(|_| CredentialsError::Unreadable)?;
        let (scheme, rest) = text.trim().split_once(' ').ok_or(CredentialsError::Unreadable)?;
        let rest = rest.trim_start();
        if scheme.eq_ignore_ascii_case("bearer") {
            return bearer(rest);
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return basic(rest, jwt_user_names);
        }
        Err(CredentialsError::Scheme)
    }
}

fn bearer(token: &str) -> Result<Credentials, CredentialsError> {
    if token.is_empty() || token.contains([' ', ',']) {
        return Err(CredentialsError::Unreadable);
    }
    token_by_shape(token)
        .map(|shape| shape.unwrap_or_else(|| Credentials::Jwt(token.to_owned().into())))
}

fn basic(encoded: &str, jwt_user_names: &[String]) -> Result<Credentials, CredentialsError> {
    let decoded = STANDARD.decode(encoded).map_err(|_| CredentialsError::Unreadable)?;
    let text = String::from_utf8(decoded).map_err(|_| CredentialsError::Unreadable)?;
    let (user, password) = text.split_once(':').ok_or(CredentialsError::Unreadable)?;
    if user.len() > USER_LIMIT_BYTES {
        return Err(CredentialsError::TooLong);
    }
    if user.chars().any(char::is_control) {
        return Err(CredentialsError::Name);
    }
    if let Some(token) = token_by_shape(password)? {
        return Ok(token);
    }
    if jwt_user_names.iter().any(|name| name == user) {
        return Ok(Credentials::Jwt(password.to_owned().into()));
    }
    if password.len() > PASSWORD_LIMIT_BYTES {
        return Err(CredentialsError::TooLong);
    }
    Ok(Credentials::Password { user: user.to_owned(), password: password.to_owned().into() })
}

/// A gateway token by its prefix; anything else is somebody else's to read.
fn token_by_shape(token: &str) -> Result<Option<Credentials>, CredentialsError> {
    if token.len() > TOKEN_LIMIT_BYTES {
        return Err(CredentialsError::TooLong);
    }
    let ours = token.starts_with(TOKEN_PREFIX);
    Ok(ours.then(|| Credentials::GatewayToken(token.to_owned().into())))
}

/// Every gateway token begins so; secret scanners look for it.
pub const TOKEN_PREFIX: &str = "mgt_";

/// No token of a sane issuer is longer.
const TOKEN_LIMIT_BYTES: usize = 8 * 1024;
/// A token in base64 with a user name before it.
const HEADER_LIMIT_BYTES: usize = 12 * 1024;
/// Names of people and machines.
const USER_LIMIT_BYTES: usize = 128;
/// Passwords that people or password managers make.
const PASSWORD_LIMIT_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Hidden;

    fn read(values: &[&str]) -> Result<Credentials, CredentialsError> {
        let authorization =
            values.iter().map(|value| Hidden::new(value.as_bytes().to_vec())).collect();
        let head = Head {
            method: crate::head::Method::Get,
            path: "/".to_owned(),
            query: None,
            authorization,
            conditions: crate::head::Conditions::default(),
            disable_module_fetch: None,
            traceparent: None,
            via: Vec::new(),
            user_agent: None,
            peer: crate::head::Peer {
                address: "127.0.0.1:1".parse().unwrap(),
                transport: crate::head::Transport::Tls,
                certificate: None,
            },
            received: std::time::SystemTime::UNIX_EPOCH,
        };
        Credentials::from_head(&head, &["jwt".to_owned()])
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn the_shape_alone_chooses_the_method() {
        assert_eq!(read(&[]), Ok(Credentials::None));
        assert_eq!(
            read(&["Bearer mgt_x"]),
            Ok(Credentials::GatewayToken("mgt_x".to_owned().into()))
        );
        assert_eq!(read(&["bearer a.b.c"]), Ok(Credentials::Jwt("a.b.c".to_owned().into())));
        assert_eq!(
            read(&[&basic("anyone:mgt_x")]),
            Ok(Credentials::GatewayToken("mgt_x".to_owned().into()))
        );
        assert_eq!(read(&[&basic("jwt:a.b.c")]), Ok(Credentials::Jwt("a.b.c".to_owned().into())));
        assert!(matches!(read(&[&basic("alice:pw:x")]), Ok(Credentials::Password { .. })));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_being_repeated() {
        let long = format!("Bearer {}", "x".repeat(8193));
        let table: [(&[&str], CredentialsError); 8] = [
            (&["Bearer a", "Bearer a"], CredentialsError::Two),
            (&["Digest x"], CredentialsError::Scheme),
            (&["Bearer"], CredentialsError::Unreadable),
            (&["Bearer a b"], CredentialsError::Unreadable),
            (&["Basic ***"], CredentialsError::Unreadable),
            (&[&basic("nocolon")], CredentialsError::Unreadable),
            (&[&long], CredentialsError::TooLong),
            (&[&basic("a\nb:c")], CredentialsError::Name),
        ];
        for (values, expected) in table {
            assert_eq!(read(values), Err(expected), "{values:?}");
        }
    }
}
