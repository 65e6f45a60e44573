//! Reading on in a segment without verifying it, to say more exactly what is wrong: never without end, whatever stands there.
//!
//! A compressed file of a few kilobytes may inflate for days. No segment is nearly as long as what is read here.

use std::io::BufRead;
use std::io::Read;

use crate::audit::chain;
use crate::audit::verify::walk::LONGEST_LINE_BYTES;
use crate::audit::verify::walk::PROGRESS_BYTES;

/// Whether a record that is not in its place stands in the next so many bytes, as far as they can be read. `hear` is told
/// now and then how many were.
pub(in crate::audit::verify) fn stands_behind(
    mut lines: &mut dyn BufRead,
    seq: u64,
    most: u64,
    hear: &mut dyn FnMut(u64),
) -> bool {
    let (mut lines, mut line, mut told) = ((&mut lines).take(most), Vec::new(), 0);
    loop {
        line.clear();
        let read = (&mut lines).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line);
        if read.unwrap_or(0) == 0 {
            return false;
        }
        if chain::seq(&line) == Some(seq) {
            return true;
        }
        let bytes = most - lines.limit();
        if bytes - told >= PROGRESS_BYTES {
            told = bytes;
            hear(bytes);
        }
    }
}

/// How many bytes can be read, up to so many.
pub(in crate::audit::verify) fn length(lines: &mut dyn Read, most: u64) -> u64 {
    let (mut lines, mut buffer) = (lines.take(most), vec![0; 1 << 16]);
    while let Ok(1..) = lines.read(&mut buffer) {}
    most - lines.limit()
}

/// So much is read on at most.
pub(in crate::audit::verify) const FURTHEST_BYTES: u64 = 4 << 30;

#[cfg(test)]
mod tests {
    use std::io;
    use std::io::BufReader;

    use super::*;

    #[test]
    fn what_never_ends_is_read_to_the_limit_and_whoever_waits_hears_of_it() {
        let most = 3 * PROGRESS_BYTES;
        let mut heard = Vec::new();
        let mut endless = BufReader::with_capacity(1 << 16, io::repeat(b'x'));
        assert!(!stands_behind(&mut endless, 7, most, &mut |bytes| heard.push(bytes)));
        assert_eq!(heard, [PROGRESS_BYTES, 2 * PROGRESS_BYTES, most]);
        assert_eq!(length(&mut endless, most), most);
    }

    #[test]
    fn what_stands_there_is_found() {
        let text = b"{\"v\":1,\"seq\":8}\n{\"v\":1,\"seq\":7}\n";
        let finds = |seq, most| stands_behind(&mut &text[..], seq, most, &mut |_| ());
        assert!(finds(7, FURTHEST_BYTES) && !finds(7, 20) && !finds(9, FURTHEST_BYTES));
        assert_eq!(length(&mut &text[..], FURTHEST_BYTES), text.len() as u64);
    }
}
