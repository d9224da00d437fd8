// SPDX-License-Identifier: GPL-2.0

//! Copies of nodes in memory, to be changed.

use super::{
    super::layout::{
        BlockHeader,
        DirEntry,
        DirIndex,
        BLOCK_SIZE,
        LEAF_USED,
        NODE_HEADER, //
    },
    node::{
        entry_size,
        index_count,
        Bytes,
        Entry,
        INDEX_ENTRIES, //
    },
};
use core::{
    mem::offset_of,
    ops::Range, //
};
use kernel::{
    bento::{
        Buffer,
        Ino,
        Kind,
        Name,
        Writable,
        NAME_MAX, //
    },
    prelude::*, //
};
use zerocopy::{
    little_endian::U16,
    Immutable,
    IntoBytes, //
};

/// The bytes of an entry.
pub(super) struct EntryBytes {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl EntryBytes {
    /// The size of an entry with the longest name.
    pub(super) const MAX: usize = (size_of::<DirEntry>() + NAME_MAX).next_multiple_of(8);

    pub(super) fn new(key: u64, ino: Ino, kind: Kind, name: Name<'_>) -> Result<Self> {
        let name = name.as_bytes();
        let entry = DirEntry {
            key: key.into(),
            ino: ino.into(),
            name_len: name.len().try_into().map_err(|_| ENAMETOOLONG)?,
            kind: kind.dtype(),
            reserved: 0.into(),
            reserved2: 0.into(),
        };
        let mut bytes = [0; Self::MAX];
        put(&mut bytes, 0, entry.as_bytes())?;
        put(&mut bytes, size_of::<DirEntry>(), name)?;
        Ok(Self {
            bytes,
            len: entry_size(name.len()),
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// A copy of a node.
pub(super) struct Image {
    bytes: KVec<u8>,
    /// What has changed behind the node's header.
    changed: Range<usize>,
}

impl Image {
    /// A node of zeros.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            bytes: KVec::zeroed(BLOCK_SIZE, GFP_KERNEL)?,
            changed: NODE_HEADER..NODE_HEADER,
        })
    }

    /// A copy of a node.
    pub(super) fn read(buffer: &Buffer) -> Result<Self> {
        let mut image = Self::new()?;
        buffer.read(0, &mut image.bytes)?;
        Ok(image)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Stores what has changed, but for the node's header, which is sealed afterwards.
    pub(super) fn store(&self, to: &mut Writable<'_>) -> Result {
        let used = self.bytes.get(LEAF_USED..NODE_HEADER).ok_or(EUCLEAN)?;
        to.write(LEAF_USED, used)?;
        match self.bytes.get(self.changed.clone()) {
            Some(changed) => to.write(self.changed.start, changed),
            None => Ok(()),
        }
    }

    /// Entries in the node.
    pub(super) fn count(&self) -> Result<u16> {
        let header: BlockHeader = self.bytes.as_slice().load(0)?;
        Ok(header.count.get())
    }

    /// Makes it a leaf with these entries.
    pub(super) fn fill_leaf(&mut self, count: u16, entries: &[u8]) -> Result {
        self.fill(0, entries)?;
        self.set_count(count)?;
        self.set_used(NODE_HEADER.saturating_add(entries.len()))
    }

    /// Puts an entry into a leaf. False if there is no room.
    pub(super) fn insert_entry(&mut self, offset: usize, entry: &EntryBytes) -> Result<bool> {
        let used = self.used()?;
        let new = used.saturating_add(entry.len);
        if new > BLOCK_SIZE {
            return Ok(false);
        }
        self.shift(offset..used, offset.saturating_add(entry.len))?;
        self.put(offset, entry.bytes())?;
        self.set_used(new)?;
        self.set_count(self.count()?.saturating_add(1))?;
        Ok(true)
    }

    /// The entries of a leaf with one more among them, and their number.
    pub(super) fn with_entry(&self, offset: usize, entry: &EntryBytes) -> Result<(KVec<u8>, u16)> {
        let mut all = KVec::with_capacity(BLOCK_SIZE.saturating_add(entry.len), GFP_KERNEL)?;
        let before = self.bytes.get(NODE_HEADER..offset).ok_or(EUCLEAN)?;
        let behind = self.bytes.get(offset..self.used()?).ok_or(EUCLEAN)?;
        for part in [before, entry.bytes(), behind] {
            all.extend_from_slice(part, GFP_KERNEL)?;
        }
        Ok((all, self.count()?.saturating_add(1)))
    }

    /// Takes an entry out of a leaf.
    pub(super) fn remove_entry(&mut self, entry: &Entry) -> Result {
        let used = self.used()?;
        let left = used.checked_sub(entry.size()).ok_or(EUCLEAN)?;
        self.shift(entry.end()..used, entry.offset)?;
        self.clear(left..used)?;
        self.set_used(left)?;
        self.set_count(self.count()?.checked_sub(1).ok_or(EUCLEAN)?)
    }

    /// Gives an entry of a leaf another inode.
    pub(super) fn replace_entry(&mut self, entry: &Entry, ino: Ino, kind: Kind) -> Result {
        let mut raw: DirEntry = self.bytes.as_slice().load(entry.offset)?;
        raw.ino = ino.into();
        raw.kind = kind.dtype();
        self.put(entry.offset, raw.as_bytes())
    }

    /// Makes it an inner node with these children.
    pub(super) fn fill_index(&mut self, level: u16, children: &[DirIndex]) -> Result {
        self.fill(level, children.as_bytes())?;
        // The first child takes all that lies below the second.
        self.store_at(NODE_HEADER.saturating_add(offset_of!(DirIndex, key)), &0u64)?;
        self.set_count(children.len().try_into().map_err(|_| EUCLEAN)?)
    }

    /// Puts a child into an inner node, behind others. False if there is no room.
    pub(super) fn insert_child(&mut self, place: usize, child: &DirIndex) -> Result<bool> {
        let count = self.children()?;
        if count >= INDEX_ENTRIES {
            return Ok(false);
        }
        let offset = child_offset(place);
        self.shift(
            offset..child_offset(count),
            child_offset(place.saturating_add(1)),
        )?;
        self.put(offset, child.as_bytes())?;
        self.set_count(self.count()?.saturating_add(1))?;
        Ok(true)
    }

    /// The children of an inner node with one more among them.
    pub(super) fn with_child(&self, place: usize, child: &DirIndex) -> Result<KVec<DirIndex>> {
        let count = self.children()?;
        let mut all = KVec::with_capacity(count.saturating_add(1), GFP_KERNEL)?;
        for index in 0..count {
            if index == place {
                all.push(*child, GFP_KERNEL)?;
            }
            all.push(self.bytes.as_slice().load(child_offset(index))?, GFP_KERNEL)?;
        }
        if place >= count {
            all.push(*child, GFP_KERNEL)?;
        }
        Ok(all)
    }

    /// Takes a child, which is not the only one, out of an inner node.
    pub(super) fn remove_child(&mut self, place: usize) -> Result {
        let count = self.children()?;
        let left = count.checked_sub(1).ok_or(EUCLEAN)?;
        let end = child_offset(count);
        self.shift(
            child_offset(place.saturating_add(1))..end,
            child_offset(place),
        )?;
        self.clear(child_offset(left)..end)?;
        self.store_at(NODE_HEADER.saturating_add(offset_of!(DirIndex, key)), &0u64)?;
        self.set_count(left.try_into().map_err(|_| EUCLEAN)?)
    }

    fn children(&self) -> Result<usize> {
        index_count(self.bytes.as_slice()).map_err(|_| EUCLEAN)
    }

    fn used(&self) -> Result<usize> {
        let used: U16 = self.bytes.as_slice().load(LEAF_USED)?;
        Ok(used.get().into())
    }

    fn set_used(&mut self, used: usize) -> Result {
        let used: U16 = u16::try_from(used).map_err(|_| EUCLEAN)?.into();
        put(&mut self.bytes, LEAF_USED, used.as_bytes())
    }

    fn set_count(&mut self, count: u16) -> Result {
        let mut header: BlockHeader = self.bytes.as_slice().load(0)?;
        header.count = count.into();
        put(&mut self.bytes, 0, header.as_bytes())
    }

    /// Makes it a node of zeros but for these bytes behind the header.
    fn fill(&mut self, level: u16, bytes: &[u8]) -> Result {
        self.clear(NODE_HEADER..BLOCK_SIZE)?;
        let mut header: BlockHeader = self.bytes.as_slice().load(0)?;
        header.level = level.into();
        put(&mut self.bytes, 0, header.as_bytes())?;
        self.put(NODE_HEADER, bytes)
    }

    fn store_at<T: IntoBytes + Immutable>(&mut self, offset: usize, value: &T) -> Result {
        self.put(offset, value.as_bytes())
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) -> Result {
        self.widen(offset..offset.saturating_add(bytes.len()));
        put(&mut self.bytes, offset, bytes)
    }

    fn clear(&mut self, range: Range<usize>) -> Result {
        self.widen(range.clone());
        self.bytes.get_mut(range).ok_or(EUCLEAN)?.fill(0);
        Ok(())
    }

    /// Moves bytes.
    fn shift(&mut self, from: Range<usize>, to: usize) -> Result {
        let bytes = self.bytes.as_mut_slice();
        // Asked as `copy_within` asks, so that the compiler sees that it cannot panic.
        let count = from.end.checked_sub(from.start).ok_or(EUCLEAN)?;
        if from.end > bytes.len() || to > bytes.len().wrapping_sub(count) {
            return Err(EUCLEAN);
        }
        bytes.copy_within(from, to);
        self.widen(to..to.wrapping_add(count));
        Ok(())
    }

    fn widen(&mut self, range: Range<usize>) {
        self.changed = if self.changed.is_empty() {
            range
        } else {
            self.changed.start.min(range.start)..self.changed.end.max(range.end)
        };
    }
}

/// Where a child of an inner node stands.
fn child_offset(index: usize) -> usize {
    index
        .saturating_mul(size_of::<DirIndex>())
        .saturating_add(NODE_HEADER)
}

fn put(to: &mut [u8], offset: usize, bytes: &[u8]) -> Result {
    let to = to
        .get_mut(offset..)
        .and_then(|rest| rest.get_mut(..bytes.len()));
    to.ok_or(EUCLEAN)?.copy_from_slice(bytes);
    Ok(())
}
