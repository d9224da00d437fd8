// SPDX-License-Identifier: GPL-2.0

//! The tree of a file's extents: the way to a leaf, and changes of its nodes.
//!
//! Levels count from the leaves, which are 0, to the root in the inode's record. The inode's guard
//! covers the whole tree. A change replaces some entries of a leaf by others. What does not fit
//! splits nodes on the way up, and a leaf that becomes empty takes those above it along that become
//! empty too.
//!
//! What is read is checked where it is used: an entry has to lie within the range that the entries
//! above leave to its node, so no node is reached by two ways.

use super::{
    balloc::{
        NewBlock,
        OldBlock, //
    },
    inode::Node,
    layout::*,
    metadata::Identity,
    Xv6, //
};
use core::ops::Range;
use kernel::{
    bento::{
        Block,
        Buffer,
        Claims,
        Extent,
        Handle,
        Inode,
        Volume,
        Writable, //
    },
    prelude::*, //
};
use zerocopy::{
    little_endian::U32,
    IntoBytes, //
};

/// The first block that no file has.
pub(super) const END: u64 = MAX_FILE_SIZE / BLOCK_SIZE as u64;

/// Levels below the root, at most.
const LEVELS: usize = MAX_DEPTH as usize;

/// Entries that half a node holds.
pub(super) const NODE_ENTRIES_HALF: u32 = NODE_ENTRIES as u32 / 2;

/// Credits of a change that adds entries: at each level a node, a new one next to it and the
/// latter's bit, which may take the first change of a bitmap and so a descriptor.
pub(super) const INSERT_CREDITS: u32 = MAX_DEPTH as u32 * 4;
/// Credits of a change that removes entries: at each level the bit of a node that is freed; and the
/// node that stays.
pub(super) const REMOVE_CREDITS: u32 = MAX_DEPTH as u32 * 2 + 1;

impl RawExtent {
    fn new(extent: &Extent) -> Self {
        let unwritten = if extent.unwritten { UNWRITTEN } else { 0 };
        Self {
            file_block: (extent.file_block as u32).into(),
            len: (extent.len as u32 | unwritten).into(),
            block: extent.block.into(),
        }
    }

    /// An entry of an inner node.
    fn child(key: U32, child: Block) -> Self {
        Self {
            file_block: key,
            len: 0.into(),
            block: child.into(),
        }
    }

    fn extent(&self) -> Extent {
        let len = self.len.get();
        Extent {
            file_block: self.file_block.get().into(),
            block: self.block.get(),
            len: (len & !UNWRITTEN).into(),
            unwritten: len & UNWRITTEN != 0,
        }
    }
}

/// A few entries that are to replace some in a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entries {
    entries: [RawExtent; 5],
    len: usize,
}

impl Entries {
    /// One entry of an inner node.
    fn one(key: U32, child: Block) -> Self {
        let mut entries = Self::default();
        entries.push_raw(RawExtent::child(key, child));
        entries
    }

    fn push_raw(&mut self, entry: RawExtent) {
        if let Some(place) = self.entries.get_mut(self.len) {
            *place = entry;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Adds an extent behind the last, or makes that one longer.
    pub(super) fn push(&mut self, extent: Extent) {
        let last = self
            .len
            .checked_sub(1)
            .and_then(|i| self.entries.get_mut(i));
        if let Some(last) = last {
            let before = last.extent();
            if before.file_end() == extent.file_block
                && before.block.checked_add(before.len) == Some(extent.block)
                && before.unwritten == extent.unwritten
            {
                let len = before.len.saturating_add(extent.len);
                *last = RawExtent::new(&Extent { len, ..before });
                return;
            }
        }
        self.push_raw(RawExtent::new(&extent));
    }

    fn get(&self, index: usize) -> Option<RawExtent> {
        self.entries.get(..self.len)?.get(index).copied()
    }
}

/// A node on the way to a leaf.
struct Step {
    /// None for the root.
    buffer: Option<Buffer>,
    count: usize,
    /// Entries that begin at or before the block that was looked for.
    position: usize,
    /// What blocks of the file the node is there for.
    range: Range<u64>,
}

/// The way from the root to the leaf that is there for a block of the file.
pub(super) struct Path {
    root: Node,
    /// From the leaf up to the root.
    steps: [Option<Step>; LEVELS + 1],
    depth: usize,
}

fn offset(index: usize) -> usize {
    index
        .saturating_mul(size_of::<RawExtent>())
        .saturating_add(NODE_HEADER)
}

impl Path {
    fn step(&self, level: usize) -> Result<&Step> {
        self.steps
            .get(level)
            .and_then(|step| step.as_ref())
            .ok_or(EUCLEAN)
    }

    fn entry(&self, step: &Step, index: usize) -> Result<Option<RawExtent>> {
        if index >= step.count {
            return Ok(None);
        }
        match &step.buffer {
            Some(buffer) => buffer.load(offset(index)).map(Some),
            None => Ok(self.root.extent(index)),
        }
    }

    /// What blocks of the file the leaf is there for.
    pub(super) fn range(&self) -> Result<Range<u64>> {
        Ok(self.step(0)?.range.clone())
    }

    /// How many extents of the leaf begin at or before the block that was looked for.
    pub(super) fn position(&self) -> Result<usize> {
        Ok(self.step(0)?.position)
    }
}

impl Xv6 {
    /// Checks the root of a tree; the error names the field.
    pub(super) fn check_extent_root(&self, node: &Node) -> Result<(), &'static str> {
        if node.depth > MAX_DEPTH {
            return Err("depth");
        }
        if usize::from(node.count) > ROOT_ENTRIES || (node.depth > 0 && node.count == 0) {
            return Err("root_count");
        }
        Ok(())
    }

    fn node_identity(inode: Inode<'_, Node>) -> Identity {
        Identity {
            magic: MAGIC_EXTENTS,
            owner: inode.ino(),
            generation: inode.generation(),
        }
    }

    /// Goes to the leaf that is there for `block`.
    pub(super) fn find(
        &self,
        volume: &Volume,
        inode: Inode<'_, Node>,
        root: &Node,
        block: u64,
    ) -> Result<Path> {
        let damage = |what| {
            let ino = inode.ino();
            volume.corrupt(format_args!("inode {ino}: extents: {what}"))
        };
        let mut path = Path {
            root: *root,
            steps: [const { None }; LEVELS + 1],
            depth: root.depth.into(),
        };
        let mut step = Step {
            buffer: None,
            count: root.count.into(),
            position: 0,
            range: 0..END,
        };
        for level in (0..=path.depth).rev() {
            step.position = self.search(&path, &step, block)?;
            let mut child = None;
            if level > 0 {
                // The first child is there for all that lies below the second one, whatever its
                // key: when a node goes, the range of the next one, and of all that are first
                // below it, begins where that of the node did.
                step.position = step.position.max(1);
                let index = step.position.saturating_sub(1);
                let taken = path.entry(&step, index)?.ok_or_else(|| damage("count"))?;
                let next = path.entry(&step, step.position)?;
                let key = u64::from(taken.file_block.get());
                let low = if index == 0 { step.range.start } else { key };
                let high = next.map_or(step.range.end, |next| next.file_block.get().into());
                if key < step.range.start {
                    return Err(damage("key"));
                }
                if key >= high || high > step.range.end || !(low..high).contains(&block) {
                    return Err(damage("keys"));
                }
                child = Some((taken.block.get(), low..high));
            }
            if let Some(place) = path.steps.get_mut(level) {
                *place = Some(step);
            }
            let Some((block, range)) = child else {
                return Ok(path);
            };
            if !self.is_data(block, 1) {
                return Err(damage("child"));
            }
            let (buffer, header) = self.read_block(volume, block, Self::node_identity(inode))?;
            let count = header.count.get().into();
            if usize::from(header.level.get()).checked_add(1) != Some(level) {
                return Err(damage("level"));
            }
            if count == 0 || count > NODE_ENTRIES {
                return Err(damage("count"));
            }
            step = Step {
                buffer: Some(buffer),
                count,
                position: 0,
                range,
            };
        }
        Err(damage("depth"))
    }

    /// Entries of a node that begin at or before `block`.
    fn search(&self, path: &Path, step: &Step, block: u64) -> Result<usize> {
        let (mut low, mut high) = (0, step.count);
        while low < high {
            let middle = low.midpoint(high);
            let entry = path.entry(step, middle)?.ok_or(EUCLEAN)?;
            if u64::from(entry.file_block.get()) <= block {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// An extent of the leaf, checked.
    pub(super) fn leaf_extent(
        &self,
        volume: &Volume,
        inode: Inode<'_, Node>,
        path: &Path,
        index: usize,
    ) -> Result<Option<Extent>> {
        let step = path.step(0)?;
        let Some(entry) = path.entry(step, index)? else {
            return Ok(None);
        };
        let extent = entry.extent();
        let next = index.checked_add(1).ok_or(EUCLEAN)?;
        let end = match path.entry(step, next)? {
            Some(next) => step.range.end.min(next.file_block.get().into()),
            None => step.range.end,
        };
        if extent.file_block < step.range.start
            || extent.file_end() > end
            || !self.is_data(extent.block, extent.len)
        {
            let ino = inode.ino();
            return Err(volume.corrupt(format_args!("inode {ino}: {extent:?} in a leaf")));
        }
        Ok(Some(extent))
    }
}

/// What happens to a node of one level. Kept on the heap: stacks are small in the kernel.
enum Level<'h> {
    /// It changes.
    Changed(Writable<'h>),
    /// It changes, and gives the upper part of its entries to a new node.
    Split(Writable<'h>, NewBlock<'h>),
    /// It becomes empty and goes.
    Gone(OldBlock<'h>),
    /// It is the root, which gives all its entries to a new node.
    Grown(NewBlock<'h>),
}

/// A change of a tree in a transaction: prepared, not yet applied.
pub(super) struct Change<'h> {
    path: Path,
    /// The entries of the leaf that go, and those that come in their place; while the change is
    /// applied those of the level that it has come to.
    at: usize,
    remove: usize,
    insert: Entries,
    /// From the leaf up, as far as the change reaches; a root that only changes is not among them.
    levels: KVec<Level<'h>>,
}

impl Xv6 {
    /// Prepares that `remove` entries of the leaf, from `at` on, are replaced by `insert`. Nodes
    /// are claimed from `claims`.
    pub(super) fn prepare_change<'h>(
        &self,
        handle: &'h Handle<'_>,
        claims: &Claims<'_>,
        inode: Inode<'_, Node>,
        path: Path,
        (at, remove, insert): (usize, usize, Entries),
    ) -> Result<Change<'h>> {
        let mut levels = KVec::new();
        let (mut remove_here, mut insert_here) = (remove, insert.len);
        for level in 0..=path.depth {
            let step = path.step(level)?;
            let count = step
                .count
                .checked_sub(remove_here)
                .and_then(|count| count.checked_add(insert_here))
                .ok_or(EUCLEAN)?;
            let Some(buffer) = &step.buffer else {
                if count > ROOT_ENTRIES {
                    if level >= LEVELS {
                        return Err(EFBIG);
                    }
                    let new = self.prepare_alloc(handle, claims, self.goal_of(inode))?;
                    levels.push(Level::Grown(new), GFP_KERNEL)?;
                }
                break;
            };
            if count == 0 {
                let old = self.prepare_free(handle, buffer.block())?;
                levels.push(Level::Gone(old), GFP_KERNEL)?;
                (remove_here, insert_here) = (1, 0);
                continue;
            }
            let node = handle.write(buffer)?;
            if count <= NODE_ENTRIES {
                levels.push(Level::Changed(node), GFP_KERNEL)?;
                break;
            }
            let new = self.prepare_alloc(handle, claims, self.goal_of(inode))?;
            levels.push(Level::Split(node, new), GFP_KERNEL)?;
            (remove_here, insert_here) = (0, 1);
        }
        Ok(Change {
            path,
            at,
            remove,
            insert,
            levels,
        })
    }
}

impl Change<'_> {
    /// The way to the leaf, whose content stays as it was until the change is applied.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Nodes that go.
    pub(super) fn gone(&self) -> u64 {
        let gone = self.levels.iter();
        gone.filter(|level| matches!(level, Level::Gone(_))).count() as u64
    }

    /// Whether the tree has no entries afterwards.
    pub(super) fn empties(&self) -> Result<bool> {
        let root = self.path.step(self.path.depth)?;
        Ok(match self.path.depth {
            0 => self.count(root) == 0,
            depth => root.count == 1 && self.gone() == depth as u64,
        })
    }

    /// Applies the change, to the tree and to `root`. The inode's record is still to be stored.
    pub(super) fn apply(
        mut self,
        fs: &Xv6,
        handle: &Handle<'_>,
        inode: Inode<'_, Node>,
        root: &mut Node,
    ) -> Result {
        let volume = handle.volume();
        for (level, change) in core::mem::take(&mut self.levels).into_iter().enumerate() {
            let above = level.saturating_add(1);
            match change {
                Level::Changed(mut node) => {
                    let count = self.count(self.path.step(level)?);
                    return self.store_left(fs, inode, level, &mut node, count);
                }
                Level::Split(mut node, new) => {
                    let child = new.block();
                    let key = self.split(fs, volume, inode, level, &mut node, new)?;
                    self.at = self.path.step(above)?.position;
                    self.remove = 0;
                    self.insert = Entries::one(key, child);
                }
                Level::Gone(old) => {
                    old.apply(fs, handle, inode)?;
                    // The entry of the node goes from the one above.
                    self.at = self.path.step(above)?.position.saturating_sub(1);
                    self.remove = 1;
                    self.insert = Entries::default();
                    self.keep_first_key(above)?;
                }
                Level::Grown(new) => {
                    let child = new.block();
                    self.store_new(fs, volume, inode, level, new, 0)?;
                    root.depth = above as u16;
                    return Self::store_root(root, &[RawExtent::child(0.into(), child)]);
                }
            }
        }
        self.store_root_change(root)
    }

    /// When the first entry of a node goes, the next one takes over its key: the node's range
    /// stays.
    fn keep_first_key(&mut self, level: usize) -> Result {
        let step = self.path.step(level)?;
        if self.at == 0 {
            if let Some(next) = self.path.entry(step, 1)? {
                let key = (step.range.start as u32).into();
                self.insert = Entries::one(key, next.block.get());
                self.remove = 2;
            }
        }
        Ok(())
    }

    /// Entries of a node after the change.
    fn count(&self, step: &Step) -> usize {
        step.count
            .saturating_sub(self.remove)
            .saturating_add(self.insert.len)
    }

    /// An entry of a node as it is after the change, by the node's content before it.
    fn entry(&self, step: &Step, index: usize) -> Result<RawExtent> {
        let entry = match index.checked_sub(self.at) {
            None => self.path.entry(step, index)?,
            Some(i) if i < self.insert.len => self.insert.get(i),
            Some(i) => {
                let behind = i.saturating_sub(self.insert.len);
                let old = self.at.saturating_add(self.remove).saturating_add(behind);
                self.path.entry(step, old)?
            }
        };
        entry.ok_or(EUCLEAN)
    }

    /// Stores the first `keep` entries of a node after the change.
    fn store_left(
        &self,
        fs: &Xv6,
        inode: Inode<'_, Node>,
        level: usize,
        node: &mut Writable<'_>,
        keep: usize,
    ) -> Result {
        let inserted = keep.saturating_sub(self.at).min(self.insert.len);
        let from = self.at.saturating_add(self.remove);
        let to = self.at.saturating_add(inserted);
        let behind = keep.saturating_sub(to);
        if behind > 0 && from != to {
            let len = behind.saturating_mul(size_of::<RawExtent>());
            node.move_within(offset(from), offset(to), len)?;
        }
        for i in 0..inserted {
            let entry = self.insert.get(i).ok_or(EUCLEAN)?;
            node.store(offset(self.at.saturating_add(i)), &entry)?;
        }
        fs.seal(node, Xv6::node_identity(inode), level as u16, keep as u16)
    }

    /// Stores the entries after the change, from the one at `first` on, in a new node.
    fn store_new(
        &self,
        fs: &Xv6,
        volume: &Volume,
        inode: Inode<'_, Node>,
        level: usize,
        new: NewBlock<'_>,
        first: usize,
    ) -> Result {
        let step = self.path.step(level)?;
        let count = self.count(step);
        let mut node = new.apply(fs, volume, inode)?;
        for i in first..count {
            node.store(offset(i.saturating_sub(first)), &self.entry(step, i)?)?;
        }
        let count = count.saturating_sub(first) as u16;
        fs.seal(&mut node, Xv6::node_identity(inode), level as u16, count)
    }

    /// Splits a node that gets too full, gives the least block of the file that the new one is for.
    fn split(
        &self,
        fs: &Xv6,
        volume: &Volume,
        inode: Inode<'_, Node>,
        level: usize,
        node: &mut Writable<'_>,
        new: NewBlock<'_>,
    ) -> Result<U32> {
        let step = self.path.step(level)?;
        let count = self.count(step);
        // A file that grows at its end leaves full nodes behind.
        let at_end = step.range.end == END && self.at.saturating_add(self.remove) >= step.count;
        let keep = if at_end && self.at > 0 {
            self.at
        } else {
            count / 2
        };
        let key = self.entry(step, keep)?.file_block;
        self.store_new(fs, volume, inode, level, new, keep)?;
        self.store_left(fs, inode, level, node, keep)?;
        Ok(key)
    }

    /// Stores the change in the root, where it fits.
    fn store_root_change(&self, root: &mut Node) -> Result {
        let step = self.path.step(self.path.depth)?;
        let count = self.count(step);
        let mut entries = [RawExtent::default(); ROOT_ENTRIES];
        let entries = entries.get_mut(..count).ok_or(EUCLEAN)?;
        for (i, entry) in entries.iter_mut().enumerate() {
            *entry = self.entry(step, i)?;
        }
        if count == 0 {
            root.depth = 0;
        }
        Self::store_root(root, entries)
    }

    /// Makes these the entries of the root.
    fn store_root(root: &mut Node, entries: &[RawExtent]) -> Result {
        root.count = entries.len() as u16;
        root.root = [0; ROOT_SIZE];
        entries.write_to_prefix(&mut root.root).map_err(|_| EUCLEAN)
    }
}
