// SPDX-License-Identifier: GPL-2.0

//! Directories: B+ trees over the keyed hash of names.
//!
//! The leaves hold the entries, in the order of their keys ([`DirEntry`]). An inner node has for
//! each of its children the least key that the child may hold; the first child takes all that lies
//! below the second, so the key of the first is zero. Splitting puts half of a node into a new one;
//! a node is freed with its last entry, and nothing is ever merged: a directory that has shrunk has
//! more room in its leaves.
//!
//! This file reads; [`draft`] makes changes. The core holds the directory, so nobody else changes
//! it meanwhile. Each step down must arrive one level lower and within narrower bounds, whatever
//! the blocks say: so a walk through a damaged tree comes to an end.
//!
//! [`DirEntry`]: super::layout::DirEntry

mod draft;
mod image;
mod node;

pub(super) use draft::{
    Draft,
    INSERT_BLOCKS,
    INSERT_NODES,
    REMOVE_BLOCKS,
    REMOVE_NODES, //
};

use super::{
    inode::Node,
    layout::{
        MAGIC_DIR_INDEX,
        MAGIC_DIR_LEAF,
        MAX_DIR_LEVEL, //
    },
    metadata::Identity,
    Xv6, //
};
use kernel::{
    bento::{
        Block,
        Buffer,
        DirSink,
        Ino,
        Inode,
        Name,
        Volume,
        NAME_MAX, //
    },
    prelude::*, //
};
use node::{
    find_child,
    run_of,
    Bounds,
    Bytes,
    Damage,
    Entry,
    Walk, //
};

/// Levels of inner nodes.
const LEVELS: usize = MAX_DIR_LEVEL as usize;

/// The tree of one directory.
pub(super) struct Tree<'a> {
    fs: &'a Xv6,
    volume: &'a Volume,
    ino: Ino,
    generation: u32,
    /// The root node, or zero.
    block: Block,
    /// The level of the root node.
    level: u16,
    entries: u64,
}

/// A step of the way from the root to a leaf.
#[derive(Clone, Copy, Default)]
struct Step {
    /// An inner node.
    block: Block,
    /// Which child the way goes through.
    index: usize,
}

/// The way from the root to a leaf.
struct Path<B> {
    /// The inner nodes, by their level less one.
    steps: [Step; LEVELS],
    leaf_block: Block,
    leaf: B,
    bounds: Bounds,
}

impl<'a> Tree<'a> {
    /// The tree of `dir`.
    pub(super) fn new(fs: &'a Xv6, volume: &'a Volume, dir: Inode<'_, Node>) -> Result<Self> {
        let root = dir.read().dir_root();
        let tree = Self {
            fs,
            volume,
            ino: dir.ino(),
            generation: dir.generation(),
            block: root.block.get(),
            level: root.level.get(),
            entries: root.entries.get(),
        };
        if tree.level > MAX_DIR_LEVEL {
            return Err(tree.damaged(tree.block, Damage("is of a level that is too high")));
        }
        if (tree.block == 0) != (tree.entries == 0) {
            return Err(tree.damaged(tree.block, Damage("disagrees with the number of entries")));
        }
        Ok(tree)
    }

    /// Whether it has no entries.
    pub(super) fn is_empty(&self) -> bool {
        self.block == 0
    }

    /// The inode that `name` names.
    pub(super) fn lookup(&self, name: Name<'_>) -> Result<Option<Ino>> {
        if self.is_empty() {
            return Ok(None);
        }
        let key = self.fs.hasher.key(name.as_bytes());
        let path = self.descend(key, |block, level| self.node(block, level))?;
        let found = find(&path.leaf, path.bounds, key, name.as_bytes())
            .map_err(|damage| self.damaged(path.leaf_block, damage))?;
        match found {
            Some(entry) => self.checked_ino(path.leaf_block, &entry).map(Some),
            None => Ok(None),
        }
    }

    /// Emits the entries whose keys are `position` and above, until the sink is full.
    pub(super) fn read(&self, mut position: u64, sink: &mut DirSink<'_>) -> Result {
        position = position.max(Bounds::ALL.low);
        while !self.is_empty() && position < Bounds::ALL.high {
            let path = self.descend(position, |block, level| self.node(block, level))?;
            let damaged = |damage| self.damaged(path.leaf_block, damage);
            for entry in Walk::new(&path.leaf, path.bounds).map_err(damaged)? {
                let entry = entry.map_err(damaged)?;
                if entry.key < position {
                    continue;
                }
                let mut bytes = [0; NAME_MAX];
                let name = bytes.get_mut(..entry.name_len).ok_or(EUCLEAN)?;
                path.leaf.read(entry.name_offset(), name)?;
                if Name::new(name).is_err() {
                    return Err(damaged(Damage("has a name that cannot be one")));
                }
                let ino = self.checked_ino(path.leaf_block, &entry)?;
                if !sink.emit(name, ino, entry.kind, entry.key.saturating_add(1)) {
                    return Ok(());
                }
            }
            position = path.bounds.high;
        }
        Ok(())
    }

    /// Goes down to the leaf that `key` belongs to. The tree is not empty; `node` gives a node of
    /// a level.
    fn descend<B: Bytes>(
        &self,
        key: u64,
        node: impl Fn(Block, u16) -> Result<B>,
    ) -> Result<Path<B>> {
        let mut steps = [Step::default(); LEVELS];
        let mut bounds = Bounds::ALL;
        let mut block = self.block;
        for level in (1..=self.level).rev() {
            let inner = node(block, level)?;
            let child =
                find_child(&inner, key, bounds).map_err(|damage| self.damaged(block, damage))?;
            let step = usize::from(level).checked_sub(1);
            *step.and_then(|at| steps.get_mut(at)).ok_or(EUCLEAN)? = Step {
                block,
                index: child.index,
            };
            bounds = child.bounds;
            block = child.block;
        }
        Ok(Path {
            steps,
            leaf_block: block,
            leaf: node(block, 0)?,
            bounds,
        })
    }

    /// Reads a node.
    fn node(&self, block: Block, level: u16) -> Result<Buffer> {
        if !self.fs.is_data(block, 1) {
            return Err(self.damaged(block, Damage("is no place for a node")));
        }
        let (buffer, header) = self
            .fs
            .read_block(self.volume, block, self.identity(level))?;
        if header.level.get() != level {
            return Err(self.damaged(block, Damage("is not of the level that its parent says")));
        }
        Ok(buffer)
    }

    /// What a node of a level has to say of itself.
    fn identity(&self, level: u16) -> Identity {
        Identity {
            magic: if level == 0 {
                MAGIC_DIR_LEAF
            } else {
                MAGIC_DIR_INDEX
            },
            owner: self.ino,
            generation: self.generation,
        }
    }

    fn checked_ino(&self, block: Block, entry: &Entry) -> Result<Ino> {
        if self.fs.is_ino(entry.ino) {
            Ok(entry.ino)
        } else {
            Err(self.damaged(block, Damage("names an inode that cannot be")))
        }
    }

    fn damaged(&self, block: Block, Damage(what): Damage) -> Error {
        self.volume
            .corrupt(format_args!("directory {}: block {block} {what}", self.ino))
    }
}

/// Finds the entry of a name, whose least key is `key`, in a leaf.
fn find<B: Bytes>(
    leaf: &B,
    bounds: Bounds,
    key: u64,
    name: &[u8],
) -> Result<Option<Entry>, Damage> {
    for entry in Walk::new(leaf, bounds)? {
        let entry = entry?;
        if run_of(entry.key) > key {
            break;
        }
        if run_of(entry.key) == key
            && entry.name_len == name.len()
            && leaf.equals(entry.name_offset(), name)
        {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}
