//! Pseudo-versions: names that Go gives to commits without a tag.

use crate::goproxy::version::is_valid;

/// Whether a text has the form `vX.0.0-TIME-REV`, `vX.Y.Z-0.TIME-REV` or `vX.Y.Z-pre.0.TIME-REV`, each perhaps with
/// a build part (Go's `module.IsPseudoVersion`).
pub(in crate::goproxy) fn is_pseudo(text: &str) -> bool {
    if !is_valid(text) {
        return false;
    }
    let plain = text.split_once('+').map_or(text, |(plain, _build)| plain);
    let Some((rest, revision)) = plain.rsplit_once('-') else { return false };
    let Some(split) = rest.len().checked_sub(TIME_DIGITS) else { return false };
    let Some((before, time)) = rest.split_at_checked(split) else { return false };
    let named = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_alphanumeric());
    named && time.bytes().all(|byte| byte.is_ascii_digit()) && is_stem(before)
}

/// What stands before the time: `vX.0.0-`, or `vX.Y.Z-` with a prerelease that ends in `0.`.
fn is_stem(before: &str) -> bool {
    let Some((core, prerelease)) = before.split_once('-') else { return false };
    if prerelease.is_empty() {
        return core.ends_with(".0.0") && core.matches('.').count() == 2;
    }
    prerelease == "0." || prerelease.ends_with(".0.")
}

/// `yyyymmddhhmmss`.
const TIME_DIGITS: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goproxy::vectors::rows;

    #[test]
    fn every_row_of_the_table_is_told_apart() {
        for row in rows("module/pseudo.tsv") {
            let [text, verdict, ..] = row.as_slice() else { panic!("{row:?}") };
            assert_eq!(is_pseudo(text), verdict == "yes", "{text}");
        }
    }
}
