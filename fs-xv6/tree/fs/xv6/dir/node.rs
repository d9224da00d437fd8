// SPDX-License-Identifier: GPL-2.0

//! The nodes of a directory's tree, read with suspicion: nothing in a block is taken for granted.

use super::super::layout::{
    BlockHeader,
    DirEntry,
    DirIndex,
    BLOCK_SIZE,
    HASH_BITS,
    LEAF_USED,
    NODE_HEADER,
    SLOTS,
    SLOT_BITS, //
};
use kernel::{
    bento::{
        Block,
        Buffer,
        Ino,
        Kind, //
    },
    prelude::*, //
};
use zerocopy::{
    little_endian::U16,
    FromBytes, //
};

/// Entries that an inner node holds.
pub(super) const INDEX_ENTRIES: usize = (BLOCK_SIZE - NODE_HEADER) / size_of::<DirIndex>();

/// What is wrong with a node.
pub(super) struct Damage(pub(super) &'static str);

impl From<Error> for Damage {
    fn from(_: Error) -> Self {
        Self("reaches out of its block")
    }
}

/// The bytes of a node, in the buffer cache or in memory.
pub(super) trait Bytes {
    /// Copies a value out.
    fn load<T: FromBytes>(&self, offset: usize) -> Result<T>;
    /// Compares bytes.
    fn equals(&self, offset: usize, bytes: &[u8]) -> bool;
}

impl Bytes for Buffer {
    fn load<T: FromBytes>(&self, offset: usize) -> Result<T> {
        Buffer::load(self, offset)
    }

    fn equals(&self, offset: usize, bytes: &[u8]) -> bool {
        Buffer::equals(self, offset, bytes)
    }
}

impl Bytes for [u8] {
    fn load<T: FromBytes>(&self, offset: usize) -> Result<T> {
        let bytes = self.get(offset..).ok_or(EUCLEAN)?;
        Ok(T::read_from_prefix(bytes).map_err(|_| EUCLEAN)?.0)
    }

    fn equals(&self, offset: usize, bytes: &[u8]) -> bool {
        self.get(offset..)
            .is_some_and(|rest| rest.starts_with(bytes))
    }
}

/// The keys that a subtree may hold: `low..high`.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) low: u64,
    pub(super) high: u64,
}

impl Bounds {
    /// Those of a whole directory.
    pub(super) const ALL: Self = Self {
        low: SLOTS,
        high: 1 << (HASH_BITS + SLOT_BITS),
    };
}

/// The least key of the names whose hash is that of `key`.
pub(super) fn run_of(key: u64) -> u64 {
    key & !(SLOTS - 1)
}

/// Bytes that an entry takes.
pub(super) fn entry_size(name_len: usize) -> usize {
    size_of::<DirEntry>()
        .saturating_add(name_len)
        .saturating_add(7)
        & !7
}

/// An entry of a leaf.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) key: u64,
    pub(super) ino: Ino,
    pub(super) kind: Kind,
    /// Where it stands.
    pub(super) offset: usize,
    pub(super) name_len: usize,
}

impl Entry {
    pub(super) fn size(&self) -> usize {
        entry_size(self.name_len)
    }

    pub(super) fn end(&self) -> usize {
        self.offset.saturating_add(self.size())
    }

    pub(super) fn name_offset(&self) -> usize {
        self.offset.saturating_add(size_of::<DirEntry>())
    }
}

/// Walks over the entries of a leaf.
///
/// An entry that comes out has a key within the bounds and above its predecessor's, a valid kind,
/// and lies in the part of the block that is in use.
pub(super) struct Walk<'a, B: ?Sized> {
    bytes: &'a B,
    offset: usize,
    end: usize,
    left: u16,
    bounds: Bounds,
}

impl<'a, B: Bytes + ?Sized> Walk<'a, B> {
    /// Over a leaf.
    pub(super) fn new(bytes: &'a B, bounds: Bounds) -> Result<Self, Damage> {
        let header: BlockHeader = bytes.load(0)?;
        let used: U16 = bytes.load(LEAF_USED)?;
        if header.count.get() == 0 {
            return Err(Damage("is an empty leaf"));
        }
        let end = usize::from(used.get());
        if end > BLOCK_SIZE {
            return Err(Damage("has more bytes in use than there are"));
        }
        Ok(Self::over(
            bytes,
            NODE_HEADER,
            end,
            header.count.get(),
            bounds,
        ))
    }

    /// Over `count` entries that stand in `start..end`.
    pub(super) fn over(bytes: &'a B, start: usize, end: usize, count: u16, bounds: Bounds) -> Self {
        Self {
            bytes,
            offset: start,
            end,
            left: count,
            bounds,
        }
    }

    /// Entries not walked over yet.
    pub(super) fn left(&self) -> u16 {
        self.left
    }

    fn entry(&self) -> Result<Entry, Damage> {
        let raw: DirEntry = self.bytes.load(self.offset)?;
        let entry = Entry {
            key: raw.key.get(),
            ino: raw.ino.get(),
            kind: Kind::from_dtype(raw.kind).ok_or(Damage("has an entry of no known kind"))?,
            offset: self.offset,
            name_len: raw.name_len.into(),
        };
        if entry.name_len == 0 {
            return Err(Damage("has an entry without a name"));
        }
        if entry.end() > self.end {
            return Err(Damage("has an entry that reaches out of the part in use"));
        }
        if entry.key < self.bounds.low || entry.key >= self.bounds.high {
            return Err(Damage("has a key that is out of order"));
        }
        Ok(entry)
    }
}

impl<B: Bytes + ?Sized> Iterator for Walk<'_, B> {
    type Item = Result<Entry, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(left) = self.left.checked_sub(1) else {
            if self.offset == self.end {
                return None;
            }
            self.offset = self.end;
            return Some(Err(Damage("has bytes in use behind its last entry")));
        };
        let entry = self.entry();
        match &entry {
            Ok(entry) => {
                self.left = left;
                self.offset = entry.end();
                self.bounds.low = entry.key.saturating_add(1);
            }
            // Nothing behind it can be trusted.
            Err(_) => {
                self.left = 0;
                self.offset = self.end;
            }
        }
        Some(entry)
    }
}

/// A child of an inner node.
#[derive(Clone, Copy)]
pub(super) struct Child {
    /// Its place among the children.
    pub(super) index: usize,
    pub(super) block: Block,
    /// What it may hold.
    pub(super) bounds: Bounds,
}

/// Number of entries of an inner node.
pub(super) fn index_count<B: Bytes + ?Sized>(bytes: &B) -> Result<usize, Damage> {
    let header: BlockHeader = bytes.load(0)?;
    match usize::from(header.count.get()) {
        0 => Err(Damage("is an empty inner node")),
        count if count > INDEX_ENTRIES => Err(Damage("has more entries than there is room for")),
        count => Ok(count),
    }
}

/// An entry of an inner node.
pub(super) fn index_entry<B: Bytes + ?Sized>(bytes: &B, index: usize) -> Result<DirIndex, Damage> {
    let offset = index.saturating_mul(size_of::<DirIndex>());
    Ok(bytes.load(offset.saturating_add(NODE_HEADER))?)
}

/// The child of an inner node that may hold `key`, which lies within `bounds`, those of the node.
pub(super) fn find_child<B: Bytes + ?Sized>(
    bytes: &B,
    key: u64,
    bounds: Bounds,
) -> Result<Child, Damage> {
    // The last entry whose key is not above `key`; the first takes all that lies below the second.
    let count = index_count(bytes)?;
    let (mut first, mut end) = (0, count);
    while end.saturating_sub(first) > 1 {
        let middle = first.midpoint(end);
        if index_entry(bytes, middle)?.key.get() <= key {
            first = middle;
        } else {
            end = middle;
        }
    }
    let entry = index_entry(bytes, first)?;
    let low = match first {
        0 if entry.key.get() != 0 => return Err(Damage("has a first entry whose key is not zero")),
        0 => bounds.low,
        _ => entry.key.get(),
    };
    let high = if end < count {
        index_entry(bytes, end)?.key.get()
    } else {
        bounds.high
    };
    let child = Bounds { low, high };
    if low < bounds.low || low >= high || high > bounds.high || run_of(low) != low {
        return Err(Damage("has a key that is out of order"));
    }
    // Not said by the above where keys of the node are out of order.
    if key < low || key >= high {
        return Err(Damage("has a key that is out of order"));
    }
    Ok(Child {
        index: first,
        block: entry.block.get(),
        bounds: child,
    })
}
