// SPDX-License-Identifier: GPL-2.0

//! Changes to a directory: drafted in memory, then stored.
//!
//! A [`Draft`] makes its changes in copies of the nodes. It reads, claims and takes write access as
//! it goes, so it may fail at any point and has changed nothing. [`Draft::prepare`] turns it into a
//! [`Change`], which only stores. A draft may hold a removal and an insertion, in this order: a
//! rename within a directory.

use super::{
    super::{
        balloc::{
            NewBlock,
            OldBlock, //
        },
        layout::{
            DirEntry,
            DirIndex,
            BLOCK_SIZE,
            MAX_DIR_LEVEL,
            NODE_HEADER,
            SLOTS, //
        },
        Xv6, //
    },
    find,
    image::{
        EntryBytes,
        Image, //
    },
    node::{
        index_count,
        index_entry,
        run_of,
        Bounds,
        Bytes,
        Damage,
        Walk,
        INDEX_ENTRIES, //
    },
    Node,
    Path,
    Step,
    Tree,
    LEVELS, //
};
use kernel::{
    bento::{
        Block,
        Buffer,
        Handle,
        Ino,
        Inode,
        Kind,
        Name,
        Writable, //
    },
    prelude::*, //
};
use zerocopy::FromBytes;

/// Nodes that an insertion stores to: with a root of level 4, half of it filled, all four nodes
/// below it split, which makes 5 + 4. With a full root of level 3 all split and a new root comes on
/// top: 4 + 4 + 1.
pub(in super::super) const INSERT_NODES: u32 = 9;
/// Blocks among them that are new: 4 + 1.
pub(in super::super) const INSERT_BLOCKS: u32 = MAX_DIR_LEVEL as u32 + 1;
/// Nodes that a removal stores to: the leaf, or the inner node above those that it frees.
pub(in super::super) const REMOVE_NODES: u32 = 1;
/// Blocks that a removal frees: a node of each level.
pub(in super::super) const REMOVE_BLOCKS: u32 = MAX_DIR_LEVEL as u32 + 1;

/// A node as the draft sees it.
enum View<'a> {
    Changed(&'a Image),
    Stored(Buffer),
}

impl Bytes for View<'_> {
    fn load<T: FromBytes>(&self, offset: usize) -> Result<T> {
        match self {
            Self::Changed(image) => image.bytes().load(offset),
            Self::Stored(buffer) => buffer.load(offset),
        }
    }

    fn equals(&self, offset: usize, bytes: &[u8]) -> bool {
        match self {
            Self::Changed(image) => image.bytes().equals(offset, bytes),
            Self::Stored(buffer) => buffer.equals(offset, bytes),
        }
    }
}

/// Where a changed node will be stored.
enum Target<'h> {
    Old(Writable<'h>),
    New(NewBlock<'h>),
}

/// A changed node.
struct Changed<'h> {
    block: Block,
    level: u16,
    target: Target<'h>,
    image: Image,
}

/// Changes to the tree of one directory, not stored yet.
pub(in super::super) struct Draft<'h, 'v> {
    handle: &'h Handle<'v>,
    tree: Tree<'h>,
    /// Where to look for new blocks.
    goal: Block,
    changed: KVec<Changed<'h>>,
    /// Nodes that go.
    gone: KVec<Block>,
}

/// Changes to the tree of one directory, ready to be stored.
#[must_use]
pub(in super::super) struct Change<'h, 'v> {
    handle: &'h Handle<'v>,
    tree: Tree<'h>,
    changed: KVec<Changed<'h>>,
    gone: KVec<OldBlock<'h>>,
}

impl<'h, 'v> Draft<'h, 'v> {
    /// Begins a draft of changes to `dir`.
    pub(in super::super) fn new(
        fs: &'h Xv6,
        handle: &'h Handle<'v>,
        dir: Inode<'_, Node>,
    ) -> Result<Self> {
        Ok(Self {
            handle,
            tree: Tree::new(fs, handle.volume(), dir)?,
            goal: fs.goal_of(dir),
            changed: KVec::new(),
            gone: KVec::new(),
        })
    }

    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// `EEXIST`; `ENOSPC`, also if there are [`SLOTS`] names of this hash, or the tree is full.
    pub(in super::super) fn insert(&mut self, name: Name<'_>, ino: Ino, kind: Kind) -> Result {
        let low = self.tree.fs.hasher.key(name.as_bytes());
        if self.tree.is_empty() {
            let entry = EntryBytes::new(low, ino, kind, name)?;
            self.tree.block = self.add(0, |image| image.fill_leaf(1, entry.bytes()))?;
            self.tree.level = 0;
            self.tree.entries = 1;
            return Ok(());
        }
        let entries = self.tree.entries.checked_add(1).ok_or(EUCLEAN)?;

        let path = self.descend(low)?;
        let place = place_for(&path.leaf, path.bounds, low, name.as_bytes())
            .map_err(|damage| self.tree.damaged(path.leaf_block, damage))??;
        let (steps, bounds, block) = (path.steps, path.bounds, path.leaf_block);
        drop(path);
        let entry = EntryBytes::new(place.key, ino, kind, name)?;
        let image = self.change(block, 0)?;
        if image.insert_entry(place.offset, &entry)? {
            self.tree.entries = entries;
            return Ok(());
        }

        // It does not fit: cut all the entries, with the new one among them, in the middle.
        let (all, count) = image.with_entry(place.offset, &entry)?;
        let cut = middle(&all, count, bounds)
            .and_then(|cut| cut.ok_or(Damage("has too many names of equal hash")))
            .map_err(|damage| self.tree.damaged(block, damage))?;
        let (left, right) = all.split_at_checked(cut.offset).ok_or(EUCLEAN)?;
        self.change(block, 0)?.fill_leaf(cut.count, left)?;
        let right_count = count.checked_sub(cut.count).ok_or(EUCLEAN)?;
        let new = self.add(0, |image| image.fill_leaf(right_count, right))?;
        self.insert_child(&steps, cut.key, new)?;
        self.tree.entries = entries;
        Ok(())
    }

    /// Removes an entry, which is of `ino`.
    pub(in super::super) fn remove(&mut self, name: Name<'_>, ino: Ino) -> Result {
        let (path, entry, last) = self.find(name, ino)?;
        let (steps, block) = (path.steps, path.leaf_block);
        drop(path);
        if last {
            self.drop_leaf(&steps, block)?;
        } else {
            self.change(block, 0)?.remove_entry(&entry)?;
        }
        self.tree.entries = self.tree.entries.checked_sub(1).ok_or(EUCLEAN)?;
        Ok(())
    }

    /// Makes an entry, which is of `old`, one of `ino`.
    pub(in super::super) fn replace(
        &mut self,
        name: Name<'_>,
        old: Ino,
        ino: Ino,
        kind: Kind,
    ) -> Result {
        let (path, entry, _) = self.find(name, old)?;
        let block = path.leaf_block;
        drop(path);
        self.change(block, 0)?.replace_entry(&entry, ino, kind)
    }

    /// Removes the last leaf with all its entries: a step of getting rid of a directory.
    pub(in super::super) fn remove_last_leaf(&mut self) -> Result {
        let path = self.descend(Bounds::ALL.high.saturating_sub(1))?;
        let left = Walk::new(&path.leaf, path.bounds).map(|walk| u64::from(walk.left()));
        let count = left.map_err(|damage| self.tree.damaged(path.leaf_block, damage))?;
        let (steps, block) = (path.steps, path.leaf_block);
        drop(path);
        self.drop_leaf(&steps, block)?;
        self.tree.entries = match self.tree.block {
            0 => 0,
            _ => self.tree.entries.saturating_sub(count).max(1),
        };
        Ok(())
    }

    /// Whether nothing is left.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Takes hold of the rest of what storing the changes needs.
    pub(in super::super) fn prepare(self, dir: Inode<'_, Node>) -> Result<Change<'h, 'v>> {
        if (self.tree.block == 0) != (self.tree.entries == 0) {
            let damage = Damage("disagrees with the number of entries");
            return Err(self.tree.damaged(self.tree.block, damage));
        }
        let fs = self.tree.fs;
        fs.check_count(self.tree.volume, dir, self.gone.len() as u64)?;
        let mut gone = KVec::with_capacity(self.gone.len(), GFP_KERNEL)?;
        for block in &self.gone {
            let old = fs.prepare_free(self.handle, *block)?;
            gone.push(old, GFP_KERNEL)?;
        }
        Ok(Change {
            handle: self.handle,
            tree: self.tree,
            changed: self.changed,
            gone,
        })
    }

    /// Finds the entry of a name, which is of `ino`; also tells whether it is the last one of its
    /// leaf.
    fn find(&self, name: Name<'_>, ino: Ino) -> Result<(Path<View<'_>>, super::Entry, bool)> {
        if self.tree.is_empty() {
            return Err(self.tree.damaged(0, Damage("lacks a name that was there")));
        }
        let key = self.tree.fs.hasher.key(name.as_bytes());
        let path = self.descend(key)?;
        let found = Walk::new(&path.leaf, path.bounds).and_then(|walk| {
            let last = walk.left() == 1;
            let entry = find(&path.leaf, path.bounds, key, name.as_bytes())?
                .filter(|entry| entry.ino == ino)
                .ok_or(Damage("lacks a name that was there"))?;
            Ok((entry, last))
        });
        let (entry, last) = found.map_err(|damage| self.tree.damaged(path.leaf_block, damage))?;
        Ok((path, entry, last))
    }

    /// Goes down to the leaf that `key` belongs to.
    fn descend(&self, key: u64) -> Result<Path<View<'_>>> {
        self.tree
            .descend(key, |block, level| self.view(block, level))
    }

    fn view(&self, block: Block, level: u16) -> Result<View<'_>> {
        match self.changed.iter().find(|node| node.block == block) {
            Some(node) if node.level == level => Ok(View::Changed(&node.image)),
            Some(_) => Err(self.tree.damaged(block, Damage("is in the tree twice"))),
            None => Ok(View::Stored(self.tree.node(block, level)?)),
        }
    }

    /// A node of the tree, to be changed.
    fn change(&mut self, block: Block, level: u16) -> Result<&mut Image> {
        if !self.changed.iter().any(|node| node.block == block) {
            let buffer = self.tree.node(block, level)?;
            let node = Changed {
                block,
                level,
                target: Target::Old(self.handle.write(&buffer)?),
                image: Image::read(&buffer)?,
            };
            self.changed.push(node, GFP_KERNEL)?;
        }
        let node = self.changed.iter_mut().find(|node| node.block == block);
        Ok(&mut node.ok_or(EUCLEAN)?.image)
    }

    /// Makes a new node, filled by `fill`, and gives its block: one that a removal has left, or a
    /// new one.
    fn add(&mut self, level: u16, fill: impl FnOnce(&mut Image) -> Result) -> Result<Block> {
        let mut image = Image::new()?;
        fill(&mut image)?;
        let (block, target) = match self.gone.pop() {
            Some(block) => {
                let buffer = self.handle.volume().read(block)?;
                (block, Target::Old(self.handle.write(&buffer)?))
            }
            None => {
                let fs = self.tree.fs;
                let new = fs.prepare_alloc(self.handle, &self.handle.claims(), self.goal)?;
                (new.block(), Target::New(new))
            }
        };
        let node = Changed {
            block,
            level,
            target,
            image,
        };
        self.changed.push(node, GFP_KERNEL)?;
        Ok(block)
    }

    /// Adds the child `block`, which holds what `key` and above was in the node to its left, to the
    /// inner nodes on the way.
    fn insert_child(&mut self, steps: &[Step; LEVELS], key: u64, block: Block) -> Result {
        let (mut key, mut block) = (key, block);
        for (level, step) in (1..=self.tree.level).zip(steps) {
            let child = DirIndex {
                key: key.into(),
                block: block.into(),
            };
            let place = step.index.saturating_add(1);
            let image = self.change(step.block, level)?;
            if image.insert_child(place, &child)? {
                return Ok(());
            }
            // The upper half goes into a new node. Its least key moves up, and stands as zero in
            // it.
            let all = image.with_child(place, &child)?;
            let (left, right) = all.split_at_checked(all.len() / 2).ok_or(EUCLEAN)?;
            image.fill_index(level, left)?;
            key = right.first().ok_or(EUCLEAN)?.key.get();
            block = self.add(level, |image| image.fill_index(level, right))?;
        }
        if self.tree.level >= MAX_DIR_LEVEL {
            return Err(ENOSPC);
        }
        let level = self.tree.level.saturating_add(1);
        let children = [(0, self.tree.block), (key, block)].map(|(key, block)| DirIndex {
            key: key.into(),
            block: block.into(),
        });
        self.tree.block = self.add(level, |image| image.fill_index(level, &children))?;
        self.tree.level = level;
        Ok(())
    }

    /// Removes a leaf, and the nodes above it of which it is the only child. A root with a single
    /// child gives way to it.
    fn drop_leaf(&mut self, steps: &[Step; LEVELS], leaf: Block) -> Result {
        self.drop_node(leaf)?;
        let mut left = false;
        for (level, step) in (1..=self.tree.level).zip(steps) {
            if self.children(step.block, level)? > 1 {
                self.change(step.block, level)?.remove_child(step.index)?;
                left = true;
                break;
            }
            self.drop_node(step.block)?;
        }
        if !left {
            (self.tree.block, self.tree.level) = (0, 0);
        }
        // A bounded number of times: credits were reserved for one node of each level.
        while self.gone.len() <= LEVELS && self.tree.level > 0 {
            let (root, level) = (self.tree.block, self.tree.level);
            if self.children(root, level)? > 1 {
                break;
            }
            let child = index_entry(&self.view(root, level)?, 0)
                .map_err(|damage| self.tree.damaged(root, damage))?;
            self.tree.block = child.block.get();
            self.tree.level = level.saturating_sub(1);
            self.drop_node(root)?;
        }
        Ok(())
    }

    /// Number of children of an inner node.
    fn children(&self, block: Block, level: u16) -> Result<usize> {
        index_count(&self.view(block, level)?).map_err(|damage| self.tree.damaged(block, damage))
    }

    /// Notes a node as one that goes.
    fn drop_node(&mut self, block: Block) -> Result {
        if let Some(index) = self.changed.iter().position(|node| node.block == block) {
            self.changed.remove(index).map_err(|_| EUCLEAN)?;
        }
        Ok(self.gone.push(block, GFP_KERNEL)?)
    }
}

impl Change<'_, '_> {
    /// Stores the changes. The directory's own record remains to be stored.
    pub(in super::super) fn apply(self, dir: Inode<'_, Node>) -> Result {
        let Self {
            handle,
            tree,
            changed,
            gone,
        } = self;
        let mut size = dir.size();
        for Changed {
            level,
            target,
            image,
            ..
        } in changed
        {
            let mut to = match target {
                Target::Old(to) => to,
                Target::New(new) => {
                    size = size.saturating_add(BLOCK_SIZE as u64);
                    new.apply(tree.fs, handle.volume(), dir)?
                }
            };
            image.store(&mut to)?;
            tree.fs
                .seal(&mut to, tree.identity(level), level, image.count()?)?;
        }
        for old in gone {
            size = size.saturating_sub(BLOCK_SIZE as u64);
            old.apply(tree.fs, handle, dir)?;
        }
        let mut node = dir.write();
        let mut root = node.dir_root();
        root.block = tree.block.into();
        root.level = tree.level.into();
        root.entries = tree.entries.into();
        node.set_dir_root(&root);
        drop(node);
        dir.set_size(size);
        Ok(())
    }
}

/// Where a new entry goes in a leaf.
struct Place {
    offset: usize,
    key: u64,
}

/// Chooses the place of a new entry whose least key is `low`. The outer result is about the leaf.
fn place_for<B: Bytes>(
    leaf: &B,
    bounds: Bounds,
    low: u64,
    name: &[u8],
) -> Result<Result<Place>, Damage> {
    let mut place = Place {
        offset: NODE_HEADER,
        key: low,
    };
    for entry in Walk::new(leaf, bounds)? {
        let entry = entry?;
        if run_of(entry.key) > low {
            break;
        }
        if run_of(entry.key) == low
            && entry.name_len == name.len()
            && leaf.equals(entry.name_offset(), name)
        {
            return Ok(Err(EEXIST));
        }
        // The least slot that is free: the keys of a run that has no gap so far.
        if entry.key <= place.key {
            place.offset = entry.end();
        }
        if entry.key == place.key {
            place.key = place.key.saturating_add(1);
        }
    }
    if run_of(place.key) != low {
        return Ok(Err(ENOSPC));
    }
    Ok(Ok(place))
}

/// Where entries are cut in two.
struct Cut {
    offset: usize,
    /// Entries in front of it.
    count: u16,
    /// The least key that belongs behind it.
    key: u64,
}

/// Where to cut `count` entries in two of about equal size, names of equal hash together, so that
/// each part fits into a leaf.
///
/// There is such a place, as [`SLOTS`] names take little more than half a leaf.
fn middle(all: &[u8], count: u16, bounds: Bounds) -> Result<Option<Cut>, Damage> {
    const ROOM: usize = BLOCK_SIZE - NODE_HEADER;
    let mut best: Option<Cut> = None;
    let mut run = None;
    for (count, entry) in (0..=count).zip(Walk::over(all, 0, all.len(), count, bounds)) {
        let entry = entry?;
        let key = run_of(entry.key);
        if run.is_some_and(|run| run != key) {
            let distance = |offset: usize| offset.abs_diff(all.len() / 2);
            let fits = entry.offset <= ROOM && all.len().saturating_sub(entry.offset) <= ROOM;
            if fits
                && best
                    .as_ref()
                    .is_none_or(|cut| distance(entry.offset) < distance(cut.offset))
            {
                best = Some(Cut {
                    offset: entry.offset,
                    count,
                    key,
                });
            }
        }
        run = Some(key);
    }
    Ok(best)
}

const _: () = assert!(
    // The largest run, with what may stand on either side of it in a leaf that one entry more
    // overfills: one side with the run must fit.
    (BLOCK_SIZE - NODE_HEADER) / 2 + EntryBytes::MAX / 2 + SLOTS as usize * EntryBytes::MAX / 2
        <= BLOCK_SIZE - NODE_HEADER
);
const _: () = assert!(INDEX_ENTRIES >= 4 && size_of::<DirEntry>() % 8 == 0);
