// SPDX-License-Identifier: GPL-2.0

//! The tree of a file's extents: walked with suspicion, and built anew.

use super::{
    damage::Damage,
    volume::{
        Identity,
        Volume, //
    }, //
};
use crate::{
    failure::Result,
    image, //
};
use kernel::user::device::BlockData;
use std::collections::HashSet;
use xv6::layout::{
    BlockHeader,
    RawExtent,
    RawInode,
    BLOCK_SIZE,
    MAGIC_EXTENTS,
    MAX_DEPTH,
    MAX_FILE_SIZE,
    NODE_ENTRIES,
    NODE_HEADER,
    ROOT_ENTRIES,
    UNWRITTEN, //
};

/// The first block that no file has.
const END: u64 = MAX_FILE_SIZE / BLOCK_SIZE as u64;

/// A run of blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block in the file.
    pub file_block: u64,
    /// First block on the volume.
    pub block: u64,
    /// Blocks.
    pub len: u64,
    /// Reads as zeroes.
    pub unwritten: bool,
}

impl Extent {
    fn from_raw(raw: &RawExtent) -> Self {
        Self {
            file_block: raw.file_block.get().into(),
            block: raw.block.get(),
            len: (raw.len.get() & !UNWRITTEN).into(),
            unwritten: raw.len.get() & UNWRITTEN != 0,
        }
    }

    fn to_raw(self) -> RawExtent {
        let unwritten = if self.unwritten { UNWRITTEN } else { 0 };
        RawExtent {
            file_block: (self.file_block as u32).into(),
            len: (self.len as u32 | unwritten).into(),
            block: self.block.into(),
        }
    }

    /// First block of the file behind it.
    pub fn file_end(&self) -> u64 {
        self.file_block + self.len
    }

    /// The part of it within the file's first `end` blocks, unless it is empty.
    pub fn clipped(self, end: u64) -> Option<Self> {
        let len = self.len.min(end.saturating_sub(self.file_block));
        (len > 0).then_some(Self { len, ..self })
    }

    /// The two as one, if `next` continues it.
    fn joined(&self, next: &Self) -> Option<Self> {
        let continues = self.file_end() == next.file_block
            && self.block + self.len == next.block
            && self.unwritten == next.unwritten;
        continues.then_some(Self {
            len: self.len + next.len,
            ..*self
        })
    }
}

/// What a walk comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A node of the tree.
    Node(u64),
    /// An extent: within the data area, behind the one before.
    Extent(Extent),
}

/// A walk over a tree.
struct Walk<'a> {
    volume: &'a Volume<'a>,
    identity: Identity,
    nodes: HashSet<u64>,
    damage: Damage,
    visit: &'a mut dyn FnMut(Found),
}

/// Visits all that is good of a regular file's tree, in order, and gives what is wrong with the
/// rest.
pub fn walk(
    volume: &Volume<'_>,
    ino: u64,
    raw: &RawInode,
    visit: &mut dyn FnMut(Found),
) -> Result<Damage> {
    let mut walk = Walk {
        volume,
        identity: Identity {
            magic: MAGIC_EXTENTS,
            owner: ino,
            generation: raw.generation.get(),
        },
        nodes: HashSet::new(),
        damage: Damage::default(),
        visit,
    };
    let count = usize::from(raw.root_count.get());
    let depth = raw.depth.get();
    if depth > MAX_DEPTH {
        walk.damage.note(format_args!("its depth is {depth}"));
        return Ok(walk.damage);
    }
    if count > ROOT_ENTRIES || (depth > 0 && count == 0) {
        walk.damage
            .note(format_args!("its root has {count} entries"));
    }
    let entries = entries(&raw.root, 0, count.min(ROOT_ENTRIES));
    walk.entries(&entries, depth, 0, END)?;
    Ok(walk.damage)
}

/// `count` entries from `offset` on.
fn entries(data: &[u8], offset: usize, count: usize) -> Vec<RawExtent> {
    (0..count)
        .filter_map(|i| image::load(data, offset + i * size_of::<RawExtent>()))
        .collect()
}

/// The good extents of a leaf that no tree leads to any more; the header has been checked.
pub fn of_leaf(volume: &Volume<'_>, data: &BlockData, header: &BlockHeader) -> Vec<Extent> {
    let count = usize::from(header.count.get()).min(NODE_ENTRIES);
    let all = entries(&data[..], NODE_HEADER, count);
    all.iter()
        .map(Extent::from_raw)
        .filter(|extent| {
            extent.len > 0 && extent.file_end() <= END && volume.is_data(extent.block, extent.len)
        })
        .collect()
}

impl Walk<'_> {
    /// Visits what lies under the entries of a node of this level, which is there for `low..high`.
    fn entries(&mut self, entries: &[RawExtent], level: u16, low: u64, high: u64) -> Result {
        if level == 0 {
            let mut next = low;
            for raw in entries {
                let extent = Extent::from_raw(raw);
                if !self.is_good(&extent, next, high) {
                    self.damage.note(format_args!("impossible {extent:?}"));
                    continue;
                }
                next = extent.file_end();
                (self.visit)(Found::Extent(extent));
            }
            return Ok(());
        }
        let children = self.children(entries, low, high);
        for (i, &(key, block)) in children.iter().enumerate() {
            let end = children.get(i + 1).map_or(high, |&(key, _)| key);
            self.node(block, level - 1, key, end)?;
        }
        Ok(())
    }

    fn is_good(&self, extent: &Extent, low: u64, high: u64) -> bool {
        extent.len > 0
            && extent.file_block >= low
            && extent.file_end() <= high
            && self.volume.is_data(extent.block, extent.len)
    }

    /// The children of an inner node, each with the least block that it may hold, in order. For the
    /// first one that is where the node's range begins, whatever its key.
    fn children(&mut self, entries: &[RawExtent], low: u64, high: u64) -> Vec<(u64, u64)> {
        let mut children: Vec<(u64, u64)> = Vec::new();
        for (i, raw) in entries.iter().enumerate() {
            let key = u64::from(raw.file_block.get());
            let least = children.last().map_or(low, |&(key, _)| key + 1);
            if key < least || key >= high {
                self.damage
                    .note(format_args!("a node's key {key} is out of order"));
                // The first child is there for all that lies below the second, whatever its key
                // says.
                if i > 0 {
                    continue;
                }
            }
            if raw.len.get() != 0 {
                self.damage
                    .note(format_args!("the node of key {key} has a length"));
            }
            let key = if i == 0 { low } else { key };
            children.push((key, raw.block.get()));
        }
        children
    }

    fn node(&mut self, block: u64, level: u16, low: u64, high: u64) -> Result {
        if !self.volume.is_data(block, 1) {
            self.damage
                .note(format_args!("block {block} is no place for a node"));
            return Ok(());
        }
        let data = self.volume.read(block)?;
        let header = match self.volume.check_header(&data, block, self.identity) {
            Ok(header) => header,
            Err(what) => {
                self.damage.note(format_args!("block {block} has a {what}"));
                return Ok(());
            }
        };
        let count = usize::from(header.count.get());
        if header.level.get() != level || count == 0 || count > NODE_ENTRIES {
            self.damage.note(format_args!(
                "block {block} says level {} and {count} entries",
                header.level
            ));
            return Ok(());
        }
        let entries = entries(&data[..], NODE_HEADER, count);
        if !self.volume.is_sealed(&data) {
            self.damage
                .note(format_args!("block {block} has a wrong checksum"));
            if !self.is_plausible(&entries, level, low, high) {
                return Ok(());
            }
        }
        if !self.nodes.insert(block) {
            self.damage.note(format_args!("block {block} comes twice"));
            return Ok(());
        }
        (self.visit)(Found::Node(block));
        self.entries(&entries, level, low, high)
    }

    /// Whether nothing but the checksum is wrong with the entries of a node.
    fn is_plausible(&self, entries: &[RawExtent], level: u16, low: u64, high: u64) -> bool {
        let mut next = low;
        entries.iter().all(|raw| {
            let extent = Extent::from_raw(raw);
            let key = extent.file_block;
            let good = if level == 0 {
                self.is_good(&extent, next, high)
            } else {
                (next..high).contains(&key)
                    && raw.len.get() == 0
                    && self.volume.is_data(extent.block, 1)
            };
            next = if level == 0 {
                extent.file_end()
            } else {
                key + 1
            };
            good
        })
    }
}

/// The same extents, those that continue each other joined: each within one group, as each was.
pub fn join(volume: &Volume<'_>, extents: &[Extent]) -> Vec<Extent> {
    let mut joined: Vec<Extent> = Vec::new();
    for extent in extents {
        let both = joined
            .last()
            .and_then(|last| last.joined(extent))
            .filter(|both| volume.is_data(both.block, both.len));
        match (both, joined.last_mut()) {
            (Some(both), Some(last)) => *last = both,
            _ => joined.push(*extent),
        }
    }
    joined
}

/// Blocks that a tree over so many extents takes.
pub fn nodes_for(extents: usize) -> usize {
    let (mut nodes, mut level) = (0, extents);
    while level > ROOT_ENTRIES {
        level = level.div_ceil(NODE_ENTRIES);
        nodes += level;
    }
    nodes
}

/// Builds a tree over joined extents from `blocks`, as many as [`nodes_for`] says, and puts its
/// root into the record, which is left to the caller to store.
pub fn build(
    volume: &Volume<'_>,
    ino: u64,
    raw: &mut RawInode,
    extents: &[Extent],
    blocks: &[u64],
) -> Result {
    let mut entries: Vec<RawExtent> = extents.iter().map(|extent| extent.to_raw()).collect();
    let mut blocks = blocks.iter();
    let mut level = 0;
    while entries.len() > ROOT_ENTRIES {
        let mut above = Vec::new();
        for part in entries.chunks(NODE_ENTRIES) {
            let Some(&block) = blocks.next() else {
                return Err(crate::Failure::new("too few blocks for a tree"));
            };
            let first = part.first().map_or(0, |entry| entry.file_block.get());
            let key = if above.is_empty() { 0 } else { first };
            let mut data = image::zeroed();
            let header = BlockHeader {
                magic: MAGIC_EXTENTS.into(),
                checksum: 0.into(),
                block: block.into(),
                owner: ino.into(),
                generation: raw.generation,
                level: level.into(),
                count: (part.len() as u16).into(),
            };
            image::store(&mut data[..], 0, &header);
            for (i, entry) in part.iter().enumerate() {
                image::store(
                    &mut data[..],
                    NODE_HEADER + i * size_of::<RawExtent>(),
                    entry,
                );
            }
            volume.write_sealed(block, &mut data)?;
            above.push(RawExtent {
                file_block: key.into(),
                len: 0.into(),
                block: block.into(),
            });
        }
        entries = above;
        level += 1;
    }
    raw.depth = level.into();
    raw.root_count = (entries.len() as u16).into();
    raw.root = [0; ROOT_ENTRIES * 16];
    for (i, entry) in entries.iter().enumerate() {
        image::store(&mut raw.root, i * size_of::<RawExtent>(), entry);
    }
    Ok(())
}
