// SPDX-License-Identifier: GPL-2.0

//! The tree of a directory: walked with suspicion, and built anew.

use super::{
    damage::Damage,
    volume::{
        Identity,
        Volume, //
    }, //
};
use crate::{
    failure::{
        Failure,
        Result, //
    },
    image,
};
use kernel::{
    bento::{
        Kind,
        Name, //
    },
    user::device::BlockData, //
};
use std::collections::HashSet;
use xv6::layout::{
    BlockHeader,
    DirEntry,
    DirIndex,
    DirRoot,
    RawInode,
    BLOCK_SIZE,
    HASH_BITS,
    LEAF_USED,
    MAGIC_DIR_INDEX,
    MAGIC_DIR_LEAF,
    MAX_DIR_LEVEL,
    NODE_HEADER,
    SLOTS,
    SLOT_BITS, //
};
use zerocopy::{
    little_endian::U16,
    FromZeros, //
};

/// Entries that an inner node holds.
const INDEX_ENTRIES: usize = (BLOCK_SIZE - NODE_HEADER) / size_of::<DirIndex>();

/// First key behind all.
const END: u64 = 1 << (HASH_BITS + SLOT_BITS);

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: u64,
    /// The inode.
    pub ino: u64,
    /// The inode's kind, as in `d_type`.
    pub kind: u8,
    /// The name: 1 to 255 bytes that can be one.
    pub name: Box<[u8]>,
}

impl Entry {
    /// The least key of names of the same hash.
    fn run(&self) -> u64 {
        self.key & !(SLOTS - 1)
    }

    /// Bytes that it takes in a leaf.
    fn size(&self) -> usize {
        (size_of::<DirEntry>() + self.name.len()).next_multiple_of(8)
    }
}

/// A name as one may print it.
pub fn printable(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

/// What a walk comes by.
#[derive(Debug)]
pub enum Found {
    /// A node of the tree.
    Node(u64),
    /// An entry, whose name can be one.
    Entry(Entry),
}

/// A walk over a tree.
struct Walk<'a> {
    volume: &'a Volume<'a>,
    ino: u64,
    generation: u32,
    nodes: HashSet<u64>,
    damage: Damage,
    visit: &'a mut dyn FnMut(Found),
}

/// The root in a directory's record.
pub fn root(raw: &RawInode) -> DirRoot {
    image::load(&raw.root, 0).unwrap_or_default()
}

/// Changes the root in a directory's record.
pub fn set_root(raw: &mut RawInode, root: &DirRoot) {
    image::store(&mut raw.root, 0, root);
}

/// Visits all that is good of a directory's tree, and gives what is wrong with the rest.
pub fn walk(
    volume: &Volume<'_>,
    ino: u64,
    raw: &RawInode,
    visit: &mut dyn FnMut(Found),
) -> Result<Damage> {
    let root = root(raw);
    let mut walk = Walk {
        volume,
        ino,
        generation: raw.generation.get(),
        nodes: HashSet::new(),
        damage: Damage::default(),
        visit,
    };
    let level = root.level.get();
    if level > MAX_DIR_LEVEL {
        walk.damage
            .note(format_args!("its root is of level {level}"));
    } else if root.block.get() != 0 {
        walk.node(root.block.get(), level, SLOTS, END)?;
    }
    Ok(walk.damage)
}

/// The good entries of a leaf that no tree leads to any more; the header has been checked.
pub fn of_leaf(volume: &Volume<'_>, data: &BlockData, header: &BlockHeader) -> Vec<Entry> {
    let mut walk = Walk {
        volume,
        ino: header.owner.get(),
        generation: header.generation.get(),
        nodes: HashSet::new(),
        damage: Damage::default(),
        visit: &mut |_| {},
    };
    walk.leaf(header.block.get(), &data[..], header, SLOTS, END)
}

impl Walk<'_> {
    fn wrong(&mut self, block: u64, what: impl std::fmt::Display) {
        self.damage.note(format_args!("block {block} {what}"));
    }

    fn node(&mut self, block: u64, level: u16, low: u64, high: u64) -> Result {
        if !self.volume.is_data(block, 1) {
            self.wrong(block, "is no place for a node");
            return Ok(());
        }
        let data = self.volume.read(block)?;
        let identity = Identity {
            magic: if level == 0 {
                MAGIC_DIR_LEAF
            } else {
                MAGIC_DIR_INDEX
            },
            owner: self.ino,
            generation: self.generation,
        };
        let header = match self.volume.check_header(&data, block, identity) {
            Ok(header) => header,
            Err(what) => {
                self.wrong(block, format_args!("has a {what}"));
                return Ok(());
            }
        };
        if header.level.get() != level {
            self.wrong(block, format_args!("says level {}", header.level));
            return Ok(());
        }
        if !self.nodes.insert(block) {
            self.wrong(block, "comes twice");
            return Ok(());
        }
        let sealed = self.volume.is_sealed(&data);
        if !sealed {
            self.wrong(block, "has a wrong checksum");
        }
        let before = self.damage.count();
        if level == 0 {
            let mut entries = self.leaf(block, &data[..], &header, low, high);
            if !sealed && self.damage.count() != before {
                entries = self.right_entries(&data[..], low, high);
            }
            (self.visit)(Found::Node(block));
            for entry in entries {
                (self.visit)(Found::Entry(entry));
            }
            return Ok(());
        }
        let children = self.children(block, &data[..], &header, low, high);
        if !sealed && self.damage.count() != before {
            return Ok(());
        }
        (self.visit)(Found::Node(block));
        for (i, &(key, child)) in children.iter().enumerate() {
            let end = children.get(i + 1).map_or(high, |&(key, _)| key);
            self.node(child, level - 1, key, end)?;
        }
        Ok(())
    }

    /// The children of an inner node, each with the least key that it may hold, in order.
    fn children(
        &mut self,
        block: u64,
        data: &[u8],
        header: &BlockHeader,
        low: u64,
        high: u64,
    ) -> Vec<(u64, u64)> {
        let count = usize::from(header.count.get());
        if count == 0 || count > INDEX_ENTRIES {
            self.wrong(block, format_args!("says {count} entries"));
        }
        let mut children: Vec<(u64, u64)> = Vec::new();
        for i in 0..count.min(INDEX_ENTRIES) {
            let Some(index) =
                image::load::<DirIndex>(data, NODE_HEADER + i * size_of::<DirIndex>())
            else {
                break;
            };
            let mut key = index.key.get();
            let least = children.last().map_or(low, |&(key, _)| key + 1);
            let good = if i == 0 {
                key == 0
            } else {
                key >= least && key < high && key % SLOTS == 0
            };
            if !good {
                self.wrong(block, format_args!("has key {key:#x} out of order"));
            }
            if i == 0 {
                key = low;
            } else if !good {
                continue;
            }
            children.push((key, index.block.get()));
        }
        children
    }

    /// The entries of a leaf. What is damaged ends it, since nothing says where the next entry is;
    /// an entry whose key alone is wrong is taken.
    fn leaf(
        &mut self,
        block: u64,
        data: &[u8],
        header: &BlockHeader,
        low: u64,
        high: u64,
    ) -> Vec<Entry> {
        let used = image::load::<U16>(data, LEAF_USED).map_or(0, |used| used.get());
        let used = usize::from(used);
        let count = usize::from(header.count.get());
        if count == 0 {
            self.wrong(block, "is an empty leaf");
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut offset = NODE_HEADER;
        let mut least = low;
        for _ in 0..count {
            let Some((raw, name)) = entry_at(data, offset, used) else {
                self.wrong(block, format_args!("has no entry at byte {offset}"));
                return entries;
            };
            let entry = Entry {
                key: raw.key.get(),
                ino: raw.ino.get(),
                kind: raw.kind,
                name: name.into(),
            };
            offset += entry.size();
            if Name::new(name).is_err() || Kind::from_dtype(raw.kind).is_none() {
                self.wrong(
                    block,
                    format_args!("has an impossible entry `{}`", printable(name)),
                );
                continue;
            }
            let right = entry.key >= least
                && entry.key < high
                && entry.run() == self.volume.hasher.key(name);
            if !right {
                self.wrong(
                    block,
                    format_args!("has a wrong key for `{}`", printable(name)),
                );
            }
            least = least.max(entry.key.saturating_add(1));
            entries.push(entry);
        }
        if offset != used {
            self.wrong(block, "has bytes in use behind its last entry");
        }
        entries
    }

    /// The entries of a leaf that was damaged which are right, wherever they stand: an entry's key
    /// tells that its name is one.
    fn right_entries(&self, data: &[u8], low: u64, high: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut offset = NODE_HEADER;
        while offset < BLOCK_SIZE {
            let least = entries.last().map_or(low, |last| last.key + 1);
            let entry = entry_at(data, offset, BLOCK_SIZE).map(|(raw, name)| Entry {
                key: raw.key.get(),
                ino: raw.ino.get(),
                kind: raw.kind,
                name: name.into(),
            });
            let right = entry.filter(|entry| {
                (least..high).contains(&entry.key)
                    && Name::new(&entry.name).is_ok()
                    && Kind::from_dtype(entry.kind).is_some()
                    && entry.run() == self.volume.hasher.key(&entry.name)
            });
            offset += right.as_ref().map_or(8, Entry::size);
            entries.extend(right);
        }
        entries
    }
}

/// The entry at `offset`, and its name, if they lie in the part of the leaf that is in use.
fn entry_at(data: &[u8], offset: usize, used: usize) -> Option<(DirEntry, &[u8])> {
    let raw: DirEntry = image::load(data, offset)?;
    let start = offset + size_of::<DirEntry>();
    let end = start + usize::from(raw.name_len);
    let name = data.get(start..end)?;
    (raw.name_len > 0 && end.next_multiple_of(8) <= used.min(BLOCK_SIZE)).then_some((raw, name))
}

/// Gives each entry the key of its name, brings them in order, and gives back those for which there
/// is no place: names that are there already, and the ninth and later ones of equal hash.
pub fn arrange(volume: &Volume<'_>, entries: &mut Vec<Entry>) -> Vec<Entry> {
    for entry in entries.iter_mut() {
        let run = volume.hasher.key(&entry.name);
        if entry.run() != run {
            entry.key = run;
        }
    }
    // Of two equal names the one with the lesser key stays.
    entries.sort_by(|a, b| a.key.cmp(&b.key).then_with(|| a.name.cmp(&b.name)));
    let mut refused = Vec::new();
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut run_start = 0;
    for mut entry in entries.drain(..) {
        let run = entry.run();
        if kept.get(run_start).is_some_and(|first| first.run() != run) {
            run_start = kept.len();
        }
        let same = kept.get(run_start..).unwrap_or_default();
        let least = same.last().map_or(run, |last| last.key + 1);
        entry.key = entry.key.max(least);
        if entry.key >= run + SLOTS {
            // The slots behind are used up: one that is free below, if there is one.
            match (run..run + SLOTS).find(|key| same.iter().all(|other| other.key != *key)) {
                Some(key) => entry.key = key,
                None => {
                    refused.push(entry);
                    continue;
                }
            }
        }
        if same.iter().any(|other| other.name == entry.name) {
            refused.push(entry);
            continue;
        }
        kept.push(entry);
        if let Some(same) = kept.get_mut(run_start..) {
            same.sort_by_key(|entry| entry.key);
        }
    }
    *entries = kept;
    refused
}

/// Cuts arranged entries into leaves: as full as they get, names of equal hash together.
fn leaves(entries: &[Entry]) -> Vec<&[Entry]> {
    let room = BLOCK_SIZE - NODE_HEADER;
    let mut leaves = Vec::new();
    let (mut start, mut run_start, mut used, mut run_used) = (0, 0, 0, 0);
    for (i, entry) in entries.iter().enumerate() {
        let same = i
            .checked_sub(1)
            .and_then(|before| entries.get(before))
            .is_some_and(|before| before.run() == entry.run());
        if !same {
            (run_start, run_used) = (i, 0);
        }
        run_used += entry.size();
        used += entry.size();
        if used > room {
            leaves.extend(entries.get(start..run_start));
            (start, used) = (run_start, run_used);
        }
    }
    leaves.extend(entries.get(start..).filter(|rest| !rest.is_empty()));
    leaves
}

/// Blocks that a directory of these arranged entries takes.
pub fn nodes_for(entries: &[Entry]) -> usize {
    let mut level = leaves(entries).len();
    let mut nodes = level;
    while level > 1 {
        level = level.div_ceil(INDEX_ENTRIES);
        nodes += level;
    }
    nodes
}

/// Builds the tree of a directory over arranged entries from `blocks`, as many as [`nodes_for`]
/// says, and puts its root, size and number of blocks into the record, which is left to the caller
/// to store.
pub fn build(
    volume: &Volume<'_>,
    ino: u64,
    raw: &mut RawInode,
    entries: &[Entry],
    blocks: &[u64],
) -> Result {
    let few = || Failure::new("too few blocks for a directory");
    let mut free = blocks.iter();
    let header = |magic: u32, block: u64, level: u16, count: usize| BlockHeader {
        magic: magic.into(),
        checksum: 0.into(),
        block: block.into(),
        owner: ino.into(),
        generation: raw.generation,
        level: level.into(),
        count: (count as u16).into(),
    };
    let mut children = Vec::new();
    for leaf in leaves(entries) {
        let block = *free.next().ok_or_else(few)?;
        let mut data = image::zeroed();
        image::store(
            &mut data[..],
            0,
            &header(MAGIC_DIR_LEAF, block, 0, leaf.len()),
        );
        let mut offset = NODE_HEADER;
        for entry in leaf {
            let mut fixed = DirEntry::new_zeroed();
            fixed.key = entry.key.into();
            fixed.ino = entry.ino.into();
            fixed.name_len = entry.name.len() as u8;
            fixed.kind = entry.kind;
            image::store(&mut data[..], offset, &fixed);
            let name = offset + size_of::<DirEntry>();
            if let Some(place) = data.get_mut(name..name + entry.name.len()) {
                place.copy_from_slice(&entry.name);
            }
            offset += entry.size();
        }
        image::store(&mut data[..], LEAF_USED, &U16::new(offset as u16));
        volume.write_sealed(block, &mut data)?;
        children.push((leaf.first().map_or(0, Entry::run), block));
    }
    let mut level = 0;
    while children.len() > 1 {
        level += 1;
        let mut above = Vec::new();
        for part in children.chunks(INDEX_ENTRIES) {
            let block = *free.next().ok_or_else(few)?;
            let mut data = image::zeroed();
            image::store(
                &mut data[..],
                0,
                &header(MAGIC_DIR_INDEX, block, level, part.len()),
            );
            for (i, &(key, child)) in part.iter().enumerate() {
                let index = DirIndex {
                    key: (if i == 0 { 0 } else { key }).into(),
                    block: child.into(),
                };
                image::store(
                    &mut data[..],
                    NODE_HEADER + i * size_of::<DirIndex>(),
                    &index,
                );
            }
            volume.write_sealed(block, &mut data)?;
            above.push((part.first().map_or(0, |&(key, _)| key), block));
        }
        children = above;
    }
    let mut head = root(raw);
    head.block = children.first().map_or(0, |&(_, block)| block).into();
    head.entries = (entries.len() as u64).into();
    head.level = level.into();
    head.reserved = Default::default();
    set_root(raw, &head);
    raw.size = (blocks.len() as u64 * BLOCK_SIZE as u64).into();
    raw.blocks = (blocks.len() as u64).into();
    Ok(())
}
