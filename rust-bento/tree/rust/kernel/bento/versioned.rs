// SPDX-License-Identifier: GPL-2.0

//! The same file system under another name and version.
//!
//! This file is compiled in both worlds, see [`types`](super::types).
//!
//! A module made of the same source with a [`Versioned`] around it is another implementation of
//! the format, which a mount can be switched to and from. So the replacement of a mounted version
//! can be tested without a second file system, and each of its steps can be made to fail.

use super::{
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
};
use crate::error::Result;
use core::{
    marker::PhantomData,
    ops::RangeInclusive, //
};

/// In what a [`Versioned`] file system differs from the one inside: its name and its version, and,
/// for tests, what it does when it takes over.
pub trait Variant<F: FileSystem>: Send + Sync + 'static {
    /// See [`FileSystem::NAME`].
    const NAME: &'static str;
    /// See [`FileSystem::VERSION`].
    const VERSION: u32;
    /// See [`FileSystem::FORMAT`].
    const FORMAT: &'static str = F::FORMAT;
    /// See [`FileSystem::OPTIONS`].
    const OPTIONS: &'static [OptionSpec] = F::OPTIONS;
    /// See [`FileSystem::STATE_WRITES`].
    const STATE_WRITES: u32 = F::STATE_WRITES;
    /// See [`FileSystem::STATE_READS`].
    const STATE_READS: RangeInclusive<u32> = F::STATE_READS;
    /// See [`FileSystem::STATE_SIZE`].
    const STATE_SIZE: usize = F::STATE_SIZE;

    /// See [`FileSystem::probe`].
    fn probe(volume: &Volume) -> Result<VolumeInfo> {
        F::probe(volume)
    }

    /// See [`FileSystem::credits`].
    fn credits(fs: &F) -> Credits {
        fs.credits()
    }

    /// See [`FileSystem::stage`].
    fn stage(volume: &Volume, options: &Options) -> Result<F> {
        F::stage(volume, options)
    }

    /// See [`FileSystem::export`].
    fn export(fs: &F, state: &mut StateWriter<'_>) -> Result {
        fs.export(state)
    }

    /// See [`FileSystem::import`].
    fn import(fs: &mut F, state: &StateReader<'_>) -> Result {
        fs.import(state)
    }
}

/// The file system `F`, as the implementation that `V` describes.
pub struct Versioned<F, V> {
    fs: F,
    variant: PhantomData<V>,
}

impl<F: FileSystem, V: Variant<F>> Versioned<F, V> {
    fn new(fs: F) -> Self {
        Self {
            fs,
            variant: PhantomData,
        }
    }

    /// The file system inside.
    pub fn inner(&self) -> &F {
        &self.fs
    }
}

impl<F: FileSystem, V: Variant<F>> FileSystem for Versioned<F, V> {
    const FORMAT: &'static str = V::FORMAT;
    const NAME: &'static str = V::NAME;
    const VERSION: u32 = V::VERSION;
    const BLOCK_SIZE: u32 = F::BLOCK_SIZE;
    const OPTIONS: &'static [OptionSpec] = V::OPTIONS;
    const STATE_WRITES: u32 = V::STATE_WRITES;
    const STATE_READS: RangeInclusive<u32> = V::STATE_READS;
    const STATE_SIZE: usize = V::STATE_SIZE;

    type Node = F::Node;

    fn probe(volume: &Volume) -> Result<VolumeInfo> {
        V::probe(volume)
    }

    fn mount(volume: &Volume, options: &Options) -> Result<Self> {
        Ok(Self::new(F::mount(volume, options)?))
    }

    fn stage(volume: &Volume, options: &Options) -> Result<Self> {
        Ok(Self::new(V::stage(volume, options)?))
    }

    fn export(&self, state: &mut StateWriter<'_>) -> Result {
        V::export(&self.fs, state)
    }

    fn import(&mut self, state: &StateReader<'_>) -> Result {
        V::import(&mut self.fs, state)
    }

    fn credits(&self) -> Credits {
        V::credits(&self.fs)
    }

    fn space(&self, volume: &Volume) -> Result<Space> {
        self.fs.space(volume)
    }

    fn set_clean(&self, handle: &Handle<'_>, space: Option<Space>) -> Result {
        self.fs.set_clean(handle, space)
    }

    fn set_error(&self, handle: &Handle<'_>) -> Result {
        self.fs.set_error(handle)
    }

    fn read_inode(&self, volume: &Volume, ino: Ino) -> Result<(Attributes, Self::Node)> {
        self.fs.read_inode(volume, ino)
    }

    fn attach(&self, volume: &Volume, inode: Inode<'_, Self::Node>) -> Result<Self::Node> {
        self.fs.attach(volume, inode)
    }

    fn read_link(
        &self,
        volume: &Volume,
        inode: Inode<'_, Self::Node>,
        target: &mut [u8],
    ) -> Result<usize> {
        self.fs.read_link(volume, inode, target)
    }

    fn lookup(
        &self,
        volume: &Volume,
        dir: Inode<'_, Self::Node>,
        name: Name<'_>,
    ) -> Result<Option<Ino>> {
        self.fs.lookup(volume, dir, name)
    }

    fn read_dir(
        &self,
        volume: &Volume,
        dir: Inode<'_, Self::Node>,
        position: u64,
        sink: &mut DirSink<'_>,
    ) -> Result {
        self.fs.read_dir(volume, dir, position, sink)
    }

    fn parent(&self, volume: &Volume, dir: Inode<'_, Self::Node>) -> Result<Ino> {
        self.fs.parent(volume, dir)
    }

    fn alloc_inode(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        dir: Inode<'_, Self::Node>,
        kind: Kind,
    ) -> Result<Ino> {
        self.fs.alloc_inode(volume, claims, dir, kind)
    }

    fn create(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Self::Node>,
        inode: Inode<'_, Self::Node>,
        new: &NewInode<'_>,
    ) -> Result<Self::Node> {
        self.fs.create(handle, dir, inode, new)
    }

    fn link(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Self::Node>,
        inode: Inode<'_, Self::Node>,
        name: Name<'_>,
    ) -> Result {
        self.fs.link(handle, dir, inode, name)
    }

    fn unlink(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Self::Node>,
        inode: Inode<'_, Self::Node>,
        name: Name<'_>,
    ) -> Result {
        self.fs.unlink(handle, dir, inode, name)
    }

    fn rename(&self, handle: &Handle<'_>, rename: &Rename<'_, Self::Node>) -> Result {
        self.fs.rename(handle, rename)
    }

    fn write_inode(&self, handle: &Handle<'_>, inode: Inode<'_, Self::Node>) -> Result {
        self.fs.write_inode(handle, inode)
    }

    fn set_orphan(
        &self,
        handle: &Handle<'_>,
        inode: Inode<'_, Self::Node>,
        orphan: bool,
    ) -> Result {
        self.fs.set_orphan(handle, inode, orphan)
    }

    fn next_orphan(&self, volume: &Volume, cursor: Ino) -> Result<Option<Ino>> {
        self.fs.next_orphan(volume, cursor)
    }

    fn map(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        inode: Inode<'_, Self::Node>,
        range: FileRange,
        intent: Intent,
    ) -> Result<Mapping> {
        self.fs.map(volume, claims, inode, range, intent)
    }

    fn publish(&self, handle: &Handle<'_>, inode: Inode<'_, Self::Node>, extent: Extent) -> Result {
        self.fs.publish(handle, inode, extent)
    }

    fn free_blocks(
        &self,
        handle: &Handle<'_>,
        inode: Inode<'_, Self::Node>,
        range: FileRange,
    ) -> Result<Step> {
        self.fs.free_blocks(handle, inode, range)
    }

    fn free_inode(&self, handle: &Handle<'_>, inode: Inode<'_, Self::Node>) -> Result {
        self.fs.free_inode(handle, inode)
    }

    fn inode_block(&self, ino: Ino) -> Option<Block> {
        self.fs.inode_block(ino)
    }
}
