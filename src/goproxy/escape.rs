//! Case-encoding: an upper-case letter is written as `!` and its lower-case form, so that file systems that ignore
//! case can hold a cache (Go modules reference, "GOPROXY protocol").

/// Encodes.
pub(in crate::goproxy) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 4);
    for letter in text.chars() {
        if letter.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(letter.to_ascii_lowercase());
    }
    escaped
}

/// Decodes; `None` for a raw capital, a byte that is not ASCII, or a `!` that no lower-case letter follows.
pub(in crate::goproxy) fn unescape(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let plain = match letter {
            '!' => letters.next().filter(char::is_ascii_lowercase)?.to_ascii_uppercase(),
            'A'..='Z' => return None,
            letter if !letter.is_ascii() => return None,
            letter => letter,
        };
        decoded.push(plain);
    }
    Some(decoded)
}

/// Percent-encodes what an upstream's URL may not hold plainly; `/` stays.
pub(in crate::goproxy) fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@+$&=:/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // writing to a string cannot fail
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unescaping_an_escape_gives_the_text_back(text in "[A-Za-z0-9._~/-]{0,40}") {
            prop_assert_eq!(unescape(&escape(&text)), Some(text));
        }

        #[test]
        fn nothing_makes_unescape_panic(text in any::<String>()) {
            let _any = unescape(&text);
        }
    }
}
