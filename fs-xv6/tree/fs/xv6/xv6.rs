// SPDX-License-Identifier: GPL-2.0

//! The xv6 file system.
//!
//! To read it, begin with [`layout`], the on-disk format. Then:
//!
//! - `super_block`: the volume as a whole.
//! - `metadata`: blocks with a header and a checksum.
//! - `group`, `balloc`, `ialloc`: bitmaps, blocks, inode numbers and orphans.
//! - `inode`: records. `symlink`: targets.
//! - `tree`, `extent`: what a file maps.
//! - [`hash`], `dir`, `namei`: directories and names.
//! - `state`: what is handed to another version that takes over.
//!
//! # Locks
//!
//! An inode's guard, then the lock of one group, then that of the descriptors. The guard covers an
//! inode's root and the blocks below it; a directory's blocks are covered by the core's hold on the
//! directory.
//!
//! # Operations
//!
//! Each has two phases. In the first, `prepare_*` reads, checks, claims and takes write access. In
//! the second, `apply` stores. All of the first comes before any of the second.

#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod balloc;
mod credits;
mod dir;
mod extent;
mod group;
pub mod hash;
mod ialloc;
mod inode;
pub mod layout;
mod metadata;
mod namei;
mod state;
mod super_block;
mod symlink;
mod tree;

pub use inode::Node;

use core::ops::RangeInclusive;
use group::Group;
use hash::Hasher;
use kernel::{
    bento::{
        sync::Mutex,
        Attributes,
        Block,
        Claims,
        Credits,
        DirSink,
        Extent,
        FileRange,
        FileSystem,
        Handle,
        Ino,
        Inode,
        Intent,
        JournalArea,
        Kind,
        Mapping,
        Name,
        NewInode,
        OptionSpec,
        Options,
        Rename,
        Space,
        StateReader,
        StateWriter,
        Step,
        Volume,
        VolumeInfo, //
    },
    prelude::*, //
};
use layout::{
    Geometry,
    BLOCK_SIZE,
    STATE_ERROR, //
};

/// A mounted xv6 volume.
///
/// Nothing in it is more than a cache of what the volume says.
pub struct Xv6 {
    geometry: Geometry,
    journal: JournalArea,
    /// Seed of the checksums.
    seed: u32,
    /// Hash of the directories.
    hasher: Hasher,
    groups: KVVec<Mutex<Group>>,
    /// Covers the blocks of group descriptors.
    descriptors: Mutex<()>,
    /// The group that the last directory in the root directory went to.
    rotor: Mutex<u64>,
}

impl Xv6 {
    /// The same volume, with names hashed to so few bits that they collide: for tests.
    pub fn with_hash_bits(self, bits: u32) -> Self {
        Self {
            hasher: self.hasher.with_bits(bits),
            ..self
        }
    }
}

impl FileSystem for Xv6 {
    const FORMAT: &'static str = "xv6";
    const NAME: &'static str = "xv6";
    const VERSION: u32 = 1;
    const BLOCK_SIZE: u32 = BLOCK_SIZE as u32;
    const OPTIONS: &'static [OptionSpec] = &[];
    const STATE_WRITES: u32 = state::VERSION;
    const STATE_READS: RangeInclusive<u32> = state::VERSION..=state::VERSION;
    const STATE_SIZE: usize = state::SIZE;

    type Node = Node;

    fn probe(volume: &Volume) -> Result<VolumeInfo> {
        Ok(super_block::info(&super_block::read(volume)?))
    }

    fn mount(volume: &Volume, _options: &Options) -> Result<Self> {
        let super_block = super_block::read(volume)?;
        if super_block.state.get() & STATE_ERROR != 0 {
            pr_warn!("the volume has known damage: fsck should be run\n");
        }
        let geometry = super_block.geometry();
        let mut groups = KVVec::with_capacity(geometry.groups() as usize, GFP_KERNEL)?;
        for _ in 0..geometry.groups() {
            groups.push(Mutex::new(Group::default())?, GFP_KERNEL)?;
        }
        Ok(Self {
            geometry,
            journal: super_block::journal(&super_block),
            seed: super_block.seed(),
            hasher: Hasher::new(super_block.hash_key.map(|word| word.get())),
            groups,
            descriptors: Mutex::new(())?,
            rotor: Mutex::new(0)?,
        })
    }

    fn export(&self, state: &mut StateWriter<'_>) -> Result {
        self.write_state(state)
    }

    fn import(&mut self, state: &StateReader<'_>) -> Result {
        self.read_state(state)
    }

    fn space(&self, volume: &Volume) -> Result<Space> {
        self.count_space(volume)
    }

    fn credits(&self) -> Credits {
        credits::CREDITS
    }

    fn set_clean(&self, handle: &Handle<'_>, space: Option<Space>) -> Result {
        self.store_clean(handle, space)
    }

    fn set_error(&self, handle: &Handle<'_>) -> Result {
        self.store_error(handle)
    }

    fn read_inode(&self, volume: &Volume, ino: Ino) -> Result<(Attributes, Node)> {
        Ok(Self::decode(&self.read_record(volume, ino)?))
    }

    fn attach(&self, volume: &Volume, inode: Inode<'_, Node>) -> Result<Node> {
        Ok(Self::node(&self.read_record(volume, inode.ino())?))
    }

    fn read_link(
        &self,
        volume: &Volume,
        inode: Inode<'_, Node>,
        target: &mut [u8],
    ) -> Result<usize> {
        self.load_link(volume, inode, target)
    }

    fn lookup(&self, volume: &Volume, dir: Inode<'_, Node>, name: Name<'_>) -> Result<Option<Ino>> {
        namei::lookup(self, volume, dir, name)
    }

    fn read_dir(
        &self,
        volume: &Volume,
        dir: Inode<'_, Node>,
        position: u64,
        sink: &mut DirSink<'_>,
    ) -> Result {
        namei::read_dir(self, volume, dir, position, sink)
    }

    fn parent(&self, volume: &Volume, dir: Inode<'_, Node>) -> Result<Ino> {
        namei::parent(self, volume, dir)
    }

    fn alloc_inode(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        dir: Inode<'_, Node>,
        kind: Kind,
    ) -> Result<Ino> {
        self.claim_inode(volume, claims, dir, kind)
    }

    fn create(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Node>,
        inode: Inode<'_, Node>,
        new: &NewInode<'_>,
    ) -> Result<Node> {
        namei::create(self, handle, dir, inode, new)
    }

    fn link(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Node>,
        inode: Inode<'_, Node>,
        name: Name<'_>,
    ) -> Result {
        namei::link(self, handle, dir, inode, name)
    }

    fn unlink(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Node>,
        inode: Inode<'_, Node>,
        name: Name<'_>,
    ) -> Result {
        namei::unlink(self, handle, dir, inode, name)
    }

    fn rename(&self, handle: &Handle<'_>, rename: &Rename<'_, Node>) -> Result {
        namei::rename(self, handle, rename)
    }

    fn write_inode(&self, handle: &Handle<'_>, inode: Inode<'_, Node>) -> Result {
        self.prepare_store(handle, inode.ino())?.apply(self, inode)
    }

    fn set_orphan(&self, handle: &Handle<'_>, inode: Inode<'_, Node>, orphan: bool) -> Result {
        self.prepare_inode(handle, inode.ino())?
            .set_orphan(self, handle.volume(), orphan)
    }

    fn next_orphan(&self, volume: &Volume, cursor: Ino) -> Result<Option<Ino>> {
        self.find_orphan(volume, cursor)
    }

    fn map(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        inode: Inode<'_, Node>,
        range: FileRange,
        intent: Intent,
    ) -> Result<Mapping> {
        self.map_range(volume, claims, inode, range, intent)
    }

    fn publish(&self, handle: &Handle<'_>, inode: Inode<'_, Node>, extent: Extent) -> Result {
        self.publish_extent(handle, inode, extent)
    }

    fn free_blocks(
        &self,
        handle: &Handle<'_>,
        inode: Inode<'_, Node>,
        range: FileRange,
    ) -> Result<Step> {
        match inode.kind() {
            Kind::Regular => self.free_extents(handle, inode, range),
            // Only files are cut: a damaged volume may have others with names among the orphans.
            _ if inode.nlink() != 0 => Ok(Step::Done),
            Kind::Directory => namei::free_step(self, handle, inode),
            Kind::Symlink => self.free_link(handle, inode),
            _ => Ok(Step::Done),
        }
    }

    fn free_inode(&self, handle: &Handle<'_>, inode: Inode<'_, Node>) -> Result {
        self.prepare_inode(handle, inode.ino())?
            .free(self, handle.volume())
    }

    fn inode_block(&self, ino: Ino) -> Option<Block> {
        self.is_ino(ino).then(|| self.geometry.inode_place(ino).0)
    }
}
