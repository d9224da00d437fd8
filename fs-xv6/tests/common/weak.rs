// SPDX-License-Identifier: GPL-2.0

//! xv6 with a hash of few bits, so that names collide.

use kernel::{
    bento::*,
    error::Result, //
};
use xv6::{
    Node,
    Xv6, //
};

/// xv6 with names hashed to this many bits.
pub struct Weak<const BITS: u32>(Xv6);

impl<const BITS: u32> FileSystem for Weak<BITS> {
    const FORMAT: &'static str = Xv6::FORMAT;
    const NAME: &'static str = "xv6-weak";
    const VERSION: u32 = Xv6::VERSION;
    const BLOCK_SIZE: u32 = Xv6::BLOCK_SIZE;
    const OPTIONS: &'static [OptionSpec] = Xv6::OPTIONS;

    type Node = Node;

    fn probe(volume: &Volume) -> Result<VolumeInfo> {
        Xv6::probe(volume)
    }

    fn mount(volume: &Volume, options: &Options) -> Result<Self> {
        Ok(Self(Xv6::mount(volume, options)?.with_hash_bits(BITS)))
    }

    fn space(&self, volume: &Volume) -> Result<Space> {
        self.0.space(volume)
    }

    fn credits(&self) -> Credits {
        self.0.credits()
    }

    fn set_clean(&self, handle: &Handle<'_>, space: Option<Space>) -> Result {
        self.0.set_clean(handle, space)
    }

    fn set_error(&self, handle: &Handle<'_>) -> Result {
        self.0.set_error(handle)
    }

    fn read_inode(&self, volume: &Volume, ino: Ino) -> Result<(Attributes, Node)> {
        self.0.read_inode(volume, ino)
    }

    fn attach(&self, volume: &Volume, inode: Inode<'_, Node>) -> Result<Node> {
        self.0.attach(volume, inode)
    }

    fn read_link(&self, volume: &Volume, inode: Inode<'_, Node>, to: &mut [u8]) -> Result<usize> {
        self.0.read_link(volume, inode, to)
    }

    fn lookup(&self, volume: &Volume, dir: Inode<'_, Node>, name: Name<'_>) -> Result<Option<Ino>> {
        self.0.lookup(volume, dir, name)
    }

    fn read_dir(
        &self,
        volume: &Volume,
        dir: Inode<'_, Node>,
        position: u64,
        sink: &mut DirSink<'_>,
    ) -> Result {
        self.0.read_dir(volume, dir, position, sink)
    }

    fn parent(&self, volume: &Volume, dir: Inode<'_, Node>) -> Result<Ino> {
        self.0.parent(volume, dir)
    }

    fn alloc_inode(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        dir: Inode<'_, Node>,
        kind: Kind,
    ) -> Result<Ino> {
        self.0.alloc_inode(volume, claims, dir, kind)
    }

    fn create(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Node>,
        inode: Inode<'_, Node>,
        new: &NewInode<'_>,
    ) -> Result<Node> {
        self.0.create(handle, dir, inode, new)
    }

    fn link(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Node>,
        inode: Inode<'_, Node>,
        name: Name<'_>,
    ) -> Result {
        self.0.link(handle, dir, inode, name)
    }

    fn unlink(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Node>,
        inode: Inode<'_, Node>,
        name: Name<'_>,
    ) -> Result {
        self.0.unlink(handle, dir, inode, name)
    }

    fn rename(&self, handle: &Handle<'_>, rename: &Rename<'_, Node>) -> Result {
        self.0.rename(handle, rename)
    }

    fn write_inode(&self, handle: &Handle<'_>, inode: Inode<'_, Node>) -> Result {
        self.0.write_inode(handle, inode)
    }

    fn set_orphan(&self, handle: &Handle<'_>, inode: Inode<'_, Node>, orphan: bool) -> Result {
        self.0.set_orphan(handle, inode, orphan)
    }

    fn next_orphan(&self, volume: &Volume, cursor: Ino) -> Result<Option<Ino>> {
        self.0.next_orphan(volume, cursor)
    }

    fn map(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        inode: Inode<'_, Node>,
        range: FileRange,
        intent: Intent,
    ) -> Result<Mapping> {
        self.0.map(volume, claims, inode, range, intent)
    }

    fn publish(&self, handle: &Handle<'_>, inode: Inode<'_, Node>, extent: Extent) -> Result {
        self.0.publish(handle, inode, extent)
    }

    fn free_blocks(
        &self,
        handle: &Handle<'_>,
        inode: Inode<'_, Node>,
        range: FileRange,
    ) -> Result<Step> {
        self.0.free_blocks(handle, inode, range)
    }

    fn free_inode(&self, handle: &Handle<'_>, inode: Inode<'_, Node>) -> Result {
        self.0.free_inode(handle, inode)
    }

    fn inode_block(&self, ino: Ino) -> Option<Block> {
        self.0.inode_block(ino)
    }
}
