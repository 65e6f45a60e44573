//! Merkle trees of RFC 6962: grown leaf by leaf at their right edge, proved with a handful of hashes.

use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::Digest as _;
use sha2::Sha256;

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash of a leaf: of a zero byte and its data.
pub fn leaf(data: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(data);
    hash.finalize().into()
}

/// The hash of two subtrees: of a one byte and theirs.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

/// The right edge of a tree: the roots of its perfect subtrees, the largest first. All it takes to go on growing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    roots: Vec<Hash>,
}

impl Edge {
    /// The edge of a tree with so many leaves; `None` if the number of roots is another.
    pub fn restore(size: u64, roots: Vec<Hash>) -> Option<Self> {
        let fits = usize::try_from(size.count_ones()).ok()? == roots.len();
        fits.then_some(Self { size, roots })
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        // each trailing one is a perfect subtree that the new one completes
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                root = node(&left, &root);
            }
        }
        self.roots.push(root);
        self.size += 1;
    }

    /// Adds a perfect subtree of 2^level leaves; `None` if none can stand here.
    fn add(&mut self, level: u32, root: Hash) -> Option<()> {
        let leaves = 1_u64.checked_shl(level)?;
        let size = self.size.checked_add(leaves)?;
        if self.size.trailing_zeros() < level {
            return None;
        }
        let mut root = root;
        for _ in 0..(self.size >> level).trailing_ones() {
            root = node(&self.roots.pop()?, &root);
        }
        self.roots.push(root);
        self.size = size;
        Some(())
    }

    /// How many leaves there are.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees.
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// The root of the whole tree; of an empty one the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(last) = roots.next() else { return Sha256::digest([]).into() };
        roots.fold(*last, |right, left| node(left, &right))
    }

    /// The leaves below each of the roots.
    fn ranges(&self) -> impl Iterator<Item = (Range<u64>, &Hash)> {
        let mut start = 0;
        let levels = (0..u64::BITS).rev().filter(|level| self.size >> level & 1 == 1);
        levels.zip(&self.roots).map(move |(level, root)| {
            let range = start..start + (1 << level);
            start = range.end;
            (range, root)
        })
    }
}

/// How a tree grew: its edge before, and the perfect subtrees that were added since, in order. Whoever knows the root before
/// sees from it that the later tree holds the earlier one unchanged; it is as long as two edges, however many leaves came.
///
/// RFC 6962 proves the same with fewer hashes (consistency proofs), but only to somebody who can look up any subtree: an
/// audit log holds no more than its edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Growth {
    before: Edge,
    size: u64,
    /// Level and root, the largest that fit between the sizes.
    added: Vec<(u32, Hash)>,
}

impl Growth {
    /// Of a tree that did not grow yet.
    pub fn of(before: Edge) -> Self {
        Self { size: before.size, before, added: Vec::new() }
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        for level in 0..self.size.trailing_ones() {
            // a subtree that began before the growth stays open
            let Some((_, left)) = self.added.pop_if(|(below, _)| *below == level) else {
                self.added.push((level, root));
                self.size += 1;
                return;
            };
            root = node(&left, &root);
        }
        self.added.push((self.size.trailing_ones(), root));
        self.size += 1;
    }

    /// The edge before.
    pub const fn before(&self) -> &Edge {
        &self.before
    }

    /// The edge after; `None` if what was added does not fit behind what was there.
    pub fn after(&self) -> Option<Edge> {
        let mut edge = self.before.clone();
        for (level, root) in &self.added {
            edge.add(*level, *root)?;
        }
        Some(edge)
    }

    /// Reads what [`Growth`] writes; `None` for anything else, and for more subtrees than any growth has.
    pub fn parse(text: &str) -> Option<Self> {
        let (before, added) =
            text.split_once(" / ").or_else(|| Some((text.strip_suffix(" /")?, "")))?;
        let mut words = before.split(' ');
        let size = words.next()?.parse().ok()?;
        let roots: Option<Vec<Hash>> = words.map(hash_of).collect();
        let before = Edge::restore(size, roots?)?;
        let subtree = |word: &str| {
            let (level, root) = word.split_once(':')?;
            Some((level.parse().ok()?, hash_of(root)?))
        };
        let words = added.split(' ').filter(|word| !word.is_empty());
        let added: Option<Vec<(u32, Hash)>> = words.take(SUBTREES + 1).map(subtree).collect();
        let added = added.filter(|added| added.len() <= SUBTREES)?;
        let growth = Self { size: 0, before, added };
        let size = growth.after()?.size;
        Some(Self { size, ..growth })
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.before.size)?;
        for root in &self.before.roots {
            write!(out, " {}", URL_SAFE_NO_PAD.encode(root))?;
        }
        write!(out, " /")?;
        for (level, root) in &self.added {
            write!(out, " {level}:{}", URL_SAFE_NO_PAD.encode(root))?;
        }
        Ok(())
    }
}

fn hash_of(text: &str) -> Option<Hash> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// Up to the top and down again, at most one of each level.
const SUBTREES: usize = 2 * u64::BITS as usize;

/// The root of some consecutive leaves, put together from perfect subtrees in order.
#[derive(Debug, Clone)]
struct Part {
    range: Range<u64>,
    /// Level and root, as [`Edge`] holds them.
    roots: Vec<(u32, Hash)>,
}

impl Part {
    fn push(&mut self, level: u32, root: Hash) {
        let (mut level, mut root) = (level, root);
        while let Some((_, left)) = self.roots.pop_if(|(below, _)| *below == level) {
            root = node(&left, &root);
            level += 1;
        }
        self.roots.push((level, root));
    }

    fn root(&self) -> Option<Hash> {
        let mut roots = self.roots.iter().rev().map(|(_, root)| *root);
        let last = roots.next()?;
        Some(roots.fold(last, |right, left| node(&left, &right)))
    }
}

/// Gathers the proof that one leaf is in a tree while the leaves pass by, in memory that grows with the tree's height.
#[derive(Debug)]
pub struct Inclusion {
    index: u64,
    parts: Vec<Part>,
    next: u64,
}

impl Inclusion {
    /// A proof for the leaf at `index` of a tree of `size` leaves; `None` if there is no such leaf.
    pub fn new(index: u64, size: u64) -> Option<Self> {
        let parts = siblings(index, size)?;
        let part = |range| Part { range, roots: Vec::new() };
        Some(Self { index, parts: parts.into_iter().map(part).collect(), next: 0 })
    }

    /// Skips the leaves of an edge that ends at or before the leaf: their subtrees' roots do instead.
    pub fn skip(&mut self, edge: &Edge) -> bool {
        if self.next != 0 || edge.size() > self.index {
            return false;
        }
        for (range, root) in edge.ranges() {
            let level = (range.end - range.start).trailing_zeros();
            let part = self.parts.iter_mut().find(|part| part.range.contains(&range.start));
            if let Some(part) = part {
                part.push(level, *root);
            }
        }
        self.next = edge.size();
        true
    }

    /// The next leaf's hash.
    pub fn push(&mut self, leaf: Hash) {
        let next = self.next;
        if let Some(part) = self.parts.iter_mut().find(|part| part.range.contains(&next)) {
            part.push(0, leaf);
        }
        self.next += 1;
    }

    /// The proof, from the leaf's sibling to the root's child; `None` if leaves are missing.
    pub fn proof(&self) -> Option<Vec<Hash>> {
        self.parts.iter().map(Part::root).collect()
    }
}

/// The leaves whose roots prove a leaf, from the bottom up.
fn siblings(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let (mut within, mut found) = (0..size, Vec::new());
    while within.end - within.start > 1 {
        let split = within.start + largest_power_below(within.end - within.start);
        if index < split {
            found.push(split..within.end);
            within.end = split;
        } else {
            found.push(within.start..split);
            within.start = split;
        }
    }
    found.reverse();
    Some(found)
}

/// The largest power of two that is smaller than a number of at least two.
const fn largest_power_below(number: u64) -> u64 {
    1 << (u64::BITS - 1 - (number - 1).leading_zeros())
}

/// Whether a proof leads from a leaf to the root of a tree.
pub fn is_included(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    let Some(siblings) = siblings(index, size) else { return false };
    if siblings.len() != proof.len() {
        return false;
    }
    let steps = siblings.iter().zip(proof);
    let found = steps.fold(*leaf, |below, (range, sibling)| {
        if range.start > index { node(&below, sibling) } else { node(sibling, &below) }
    });
    found == *root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edge(leaves: &[Hash]) -> Edge {
        let mut edge = Edge::default();
        for leaf in leaves {
            edge.push(*leaf);
        }
        edge
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    /// RFC 6962, section 2.1, word for word.
    fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            more => {
                let split = usize::try_from(largest_power_below(more.len() as u64)).unwrap();
                node(&root(&more[..split]), &root(&more[split..]))
            }
        }
    }

    #[test]
    fn an_edge_has_the_root_of_the_definition_and_survives_a_restart_at_every_size() {
        let all = leaves(130);
        for size in 0..all.len() {
            let grown = edge(&all[..size]);
            assert_eq!(grown.root(), root(&all[..size]), "{size}");
            let again = Edge::restore(grown.size(), grown.roots().to_vec()).unwrap();
            assert_eq!(again, grown);
        }
        assert_eq!(Edge::restore(3, vec![[0; 32]]), None);
    }

    #[test]
    fn a_tree_of_the_go_checksum_database_has_its_root() {
        let mut tree = Edge::default();
        let tiles = [
            include_bytes!("../../tests/fixtures/vectors/sumdb/tile-000").as_slice(),
            include_bytes!("../../tests/fixtures/vectors/sumdb/tile-001").as_slice(),
        ];
        for hash in tiles.concat().chunks_exact(32).take(300) {
            tree.push(hash.try_into().unwrap());
        }
        let head = include_str!("../../tests/fixtures/vectors/sumdb/latest-300");
        let told = crate::tlog::checkpoint::Checkpoint::parse(head).unwrap();
        assert_eq!((told.size, told.root), (tree.size(), tree.root()));
    }

    #[test]
    fn a_growth_leads_from_every_size_to_every_later_one_and_says_so_in_few_hashes() {
        let all = leaves(70);
        for from in 0..all.len() {
            let mut growth = Growth::of(edge(&all[..from]));
            for to in from..=all.len() {
                assert_eq!(growth.after(), Some(edge(&all[..to])), "{from} to {to}");
                assert!(growth.added.len() <= 14, "{from} to {to}");
                assert_eq!(Growth::parse(&growth.to_string()), Some(growth.clone()));
                if let Some(leaf) = all.get(to) {
                    growth.push(*leaf);
                }
            }
        }
    }

    #[test]
    fn a_growth_that_does_not_fit_is_none() {
        let mut growth = Growth::of(edge(&leaves(5)));
        for leaf in leaves(3) {
            growth.push(leaf);
        }
        let text = growth.to_string();
        let root = URL_SAFE_NO_PAD.encode([7; 32]);
        for bad in [
            text.replacen('5', "6", 1),
            text.replacen('5', "x", 1),
            text.replacen(" / 0:", " / 1:", 1),
            text.replacen(" / 0:", " / 64:", 1),
            text.replacen(" / 0:", " / 4294967295:", 1),
            text.replace(" / ", " "),
            format!("{text}="),
            format!("18446744073709551615{} / 0:{root}", format!(" {root}").repeat(64)),
            format!("0 / {}", format!(" 0:{root}").repeat(SUBTREES + 1)),
            String::new(),
        ] {
            assert_eq!(Growth::parse(&bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_leaf_is_proved_and_no_other_value_is(size in 1_u64..200, at in 0_u64..200, skip in 0_u64..200) {
            let (all, index) = (leaves(size), at % size);
            let skipped = usize::try_from(skip % (index + 1)).unwrap();
            let mut gather = Inclusion::new(index, size).unwrap();
            prop_assert!(gather.skip(&edge(&all[..skipped])));
            for leaf in &all[skipped..] {
                gather.push(*leaf);
            }
            let (proof, root) = (gather.proof().unwrap(), edge(&all).root());
            let own = all[usize::try_from(index).unwrap()];
            prop_assert!(is_included(&own, index, size, &proof, &root));
            prop_assert!(!is_included(&leaf(b"other"), index, size, &proof, &root));
            prop_assert!(!is_included(&own, index + 1, size, &proof, &root));
            let longer = [proof, vec![[0; 32]]].concat();
            prop_assert!(!is_included(&own, index, size, &longer, &root));
        }
    }
}
