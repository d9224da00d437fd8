// SPDX-License-Identifier: GPL-2.0

//! A small volume in memory, with a file system mounted on it whose methods can be called one by one.

use kernel::{
    bento::{
        FileSystem,
        Handle,
        Ino,
        Inode,
        Kind, //
    },
    prelude::*,
    user::{
        device::MemDevice,
        Mount,
        NewNode,
        SetAttr, //
    },
};
use std::sync::Arc;
use xv6::{
    layout::MAX_FILE_SIZE,
    Node,
    Xv6, //
};

/// Random numbers, the same in each run (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A mounted volume in memory.
pub struct World {
    pub device: Arc<MemDevice>,
    pub mount: Mount<Xv6>,
}

impl World {
    /// Makes and mounts a volume.
    pub fn new(blocks: u64) -> Self {
        Self::mount(super::format(blocks))
    }

    pub fn mount(device: Arc<MemDevice>) -> Self {
        let mount = super::mount(&device);
        Self { device, mount }
    }

    /// Makes a regular file in the root directory, of the greatest size: data is published within it,
    /// while the size is the core's.
    pub fn create(&self, name: &[u8]) -> Ino {
        let new = NewNode::new(Kind::Regular, 0o644);
        let inode = self.mount.create(self.mount.root(), name, &new);
        let ino = inode.unwrap().pin();
        let size = SetAttr {
            size: Some(MAX_FILE_SIZE),
            ..SetAttr::default()
        };
        self.mount.set_attr(ino, &size).unwrap();
        ino
    }

    /// Calls methods of the file system under a handle.
    pub fn transact<R>(
        &self,
        ino: Ino,
        operation: impl FnOnce(&Xv6, &Handle<'_>, Inode<'_, Node>) -> Result<R>,
    ) -> Result<R> {
        let credits = self.mount.fs().credits();
        let most = credits.publish.max(credits.free_blocks);
        self.mount
            .operate(ino, most, credits.free_revokes, operation)
    }

    /// Space that an inode uses, in 512 bytes.
    pub fn sectors(&self, ino: Ino) -> u64 {
        self.mount.stat(ino).unwrap().attributes.sectors
    }

    /// Blocks not in use.
    pub fn free_blocks(&self) -> u64 {
        self.mount.statfs().space.free_blocks
    }

    /// Commits all that was done.
    pub fn commit(&self) {
        self.mount.commit().unwrap();
    }

    /// Mounts again after a commit and a crash: the counts come from the bitmaps then.
    pub fn remount(self) -> Self {
        self.commit();
        let free = self.free_blocks();
        self.no_complaints();
        drop(self.mount);
        super::fsck(&self.device);
        let next = Self::mount(self.device);
        assert_eq!(next.free_blocks(), free);
        next
    }

    fn no_complaints(&self) {
        assert_eq!((self.mount.breaches(), self.mount.damage()), (0, 0));
    }

    /// Ends: nothing was wrong, and fsck finds nothing either.
    pub fn finish(self) {
        let world = self.remount();
        world.no_complaints();
        world.mount.umount().unwrap();
        super::fsck(&world.device);
    }
}
