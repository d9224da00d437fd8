// SPDX-License-Identifier: GPL-2.0

//! Calls of single methods of a file system, for its tests.

use super::Mount;
use crate::{
    bento::{
        ClaimLog,
        Claims,
        Extent,
        FileRange,
        FileSystem,
        Handle,
        Ino,
        Inode,
        Intent,
        Mapping, //
    },
    error::Result,
    user::space::From, //
};

impl<F: FileSystem> Mount<F> {
    /// Runs an operation on an inode, whose content is locked, under a handle.
    pub fn operate<R>(
        &self,
        ino: Ino,
        credits: u32,
        revokes: u32,
        operation: impl FnOnce(&F, &Handle<'_>, Inode<'_, F::Node>) -> Result<R>,
    ) -> Result<R> {
        let inode = self.get(ino)?;
        let inode = inode.state();
        let _content = inode.lock();
        self.transact(credits, revokes, &[inode], |handle| {
            operation(&self.fs, handle, inode.view())
        })
    }

    /// Calls [`FileSystem::map`]. What it claims stays pending, until [`Mount::publish_extent`] or
    /// [`Mount::drop_claim`].
    pub fn map(&self, ino: Ino, range: FileRange, intent: Intent) -> Result<Mapping> {
        let inode = self.get(ino)?;
        let inode = inode.state();
        let _content = inode.lock_shared();
        let log = ClaimLog::default();
        let claims = Claims::new(self.volume(), &log, From::Free);
        let mapping = self
            .fs
            .map(self.volume(), &claims, inode.view(), range, intent);
        if let Ok(Mapping::Claimed(extent)) = mapping {
            log.forget(extent.block, extent.len);
        }
        log.drop_all(self.volume());
        mapping
    }

    /// Publishes an extent that [`Mount::map`] gave; nothing is written to it. The size stays.
    pub fn publish_extent(&self, ino: Ino, extent: Extent) -> Result {
        let inode = self.get(ino)?;
        let inode = inode.state();
        let _content = inode.lock();
        let size = inode.attributes().size;
        self.publish(inode, extent, size)?;
        self.volume().space.settle(extent.block, extent.len);
        Ok(())
    }

    /// Gives the blocks back that [`Mount::map`] claimed.
    pub fn drop_claim(&self, extent: Extent) {
        self.volume().space.unclaim(extent.block, extent.len);
    }

    /// Calls [`FileSystem::free_blocks`] until it is done.
    pub fn free_blocks(&self, ino: Ino, range: FileRange) -> Result {
        let inode = self.get(ino)?;
        let inode = inode.state();
        let _content = inode.lock();
        self.free_range(inode, range)
    }
}
