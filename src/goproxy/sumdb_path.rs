//! The paths of a checksum database below its name: tiles, and lookups.

use std::fmt;

use crate::goproxy::path::ModulePath;
use crate::goproxy::request::RequestError;
use crate::goproxy::request::SumdbAsk;
use crate::goproxy::version;
use crate::goproxy::version::Version;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TileLevel {
    /// Hashes of a level of the tree, 0 to 63.
    Hashes(u8),
    /// The records themselves.
    Data,
}

/// One tile of height 8: 256 hashes or records, or the first few of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// What it holds.
    pub level: TileLevel,
    /// Which one of its level.
    pub index: u64,
    /// 1 to 255 for a partial tile.
    pub width: Option<u8>,
}

impl fmt::Display for Tile {
    /// As below `/tile/`: `8/0/x001/x234/067.p/3`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            TileLevel::Hashes(level) => write!(out, "8/{level}/")?,
            TileLevel::Data => write!(out, "8/data/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        let (last, higher) = groups.split_first().map_or((0, [].as_slice()), |(l, h)| (*l, h));
        for group in higher.iter().rev() {
            write!(out, "x{group:03}/")?;
        }
        write!(out, "{last:03}")?;
        self.width.map_or(Ok(()), |width| write!(out, ".p/{width}"))
    }
}

/// Reads what stands below the database's name.
pub(in crate::goproxy) fn ask(rest: &str) -> Result<SumdbAsk, RequestError> {
    match rest.split_once('/') {
        None if rest == "supported" => Ok(SumdbAsk::Supported),
        None if rest == "latest" => Ok(SumdbAsk::Latest),
        Some(("lookup", rest)) => lookup(rest),
        Some(("tile", rest)) => tile(rest).map(SumdbAsk::Tile).ok_or(RequestError::NoEndpoint),
        _ => Err(RequestError::NoEndpoint),
    }
}

fn lookup(rest: &str) -> Result<SumdbAsk, RequestError> {
    let (path, text) = rest.split_once('@').ok_or(RequestError::NoEndpoint)?;
    let path = ModulePath::unescape(path)?;
    let version = Version::parse(&version::unescape(text)?)?;
    Ok(SumdbAsk::Lookup { path, version })
}

fn tile(rest: &str) -> Option<Tile> {
    let (height, rest) = rest.split_once('/')?;
    let (level, rest) = rest.split_once('/')?;
    let level = match level {
        "data" => TileLevel::Data,
        level => TileLevel::Hashes(plain_number(level)?),
    };
    let (place, width) = match rest.split_once(".p/") {
        Some((place, width)) => (place, Some(plain_number(width).filter(|width| *width > 0)?)),
        None => (rest, None),
    };
    let mut index = 0_u64;
    for group in place.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let shaped = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let value = digits.parse::<u64>().ok().filter(|_| shaped)?;
        index = index.checked_mul(1000)?.checked_add(value)?;
    }
    let tile = Tile { level, index, width };
    let in_range = !matches!(level, TileLevel::Hashes(64..));
    // there is one way to write a tile: whatever is written otherwise is another path
    (height == "8" && in_range && tile.to_string() == format!("8/{}", rest_of(level, rest)))
        .then_some(tile)
}

fn rest_of(level: TileLevel, rest: &str) -> String {
    match level {
        TileLevel::Hashes(level) => format!("{level}/{rest}"),
        TileLevel::Data => format!("data/{rest}"),
    }
}

/// A number below 256 without leading zeros or sign.
fn plain_number(text: &str) -> Option<u8> {
    let number: u8 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_one_spelling() {
        let good = ["8/0/000", "8/63/001.p/255", "8/data/x001/x234/067", "8/1/x001/000.p/1"];
        for text in good {
            assert_eq!(tile(text).map(|tile| tile.to_string()).as_deref(), Some(text));
        }
        let bad = [
            "8/0/00",
            "8/0/0000",
            "8/64/000",
            "8/00/000",
            "8/+1/000",
            "7/0/000",
            "08/0/000",
            "8/0/000.p/0",
            "8/0/000.p/256",
            "8/0/000.p/01",
            "8/0/x001",
            "8/0/001/000",
            "8/0/x000/001",
            "8/data",
            "8/0/",
            "8/0/000/",
            "8/0/abc",
            "",
            "8/0/x999/x999/x999/x999/x999/x999/x999/999",
        ];
        for text in bad {
            assert_eq!(tile(text), None, "{text}");
        }
    }
}
