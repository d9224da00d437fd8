// SPDX-License-Identifier: GPL-2.0

//! Calls of a file system's methods, from inside the gate.
//!
//! An [`Entered`] proves that the gate of a mount has been passed. It has one method for each of
//! [`FileSystem`](super::FileSystem)'s, and it attaches each inode that a method gets: when another
//! version has written the inode's cached data, or nobody has, this version makes its own first.

use super::{
    gate::{
        Generation,
        Inside,
        NO_GENERATION, //
    },
    inode::CoreInode,
    instance::{
        Instance,
        Loaded,
        RawRename,
        State, //
    },
    super_block::CoreSuper,
    Attributes,
    Block,
    Claims,
    DirSink,
    Extent,
    FileRange,
    Handle,
    Ino,
    Intent,
    Kind,
    Mapping,
    Name,
    NewInode,
    Space,
    Step, //
};
use crate::prelude::*;

/// Being inside the gate of a mount. Leaves it on drop, and then does what the mount's `errors=`
/// asks for if damage was met.
///
/// # Invariants
///
/// `loaded` serves the mount, with this generation, as long as `inside` lives.
#[must_use = "the gate is left at once when this is dropped"]
pub(super) struct Entered<'a> {
    sb: &'a CoreSuper,
    loaded: Loaded,
    generation: Generation,
    /// [`Some`] until `drop`.
    inside: Option<Inside<'a>>,
}

impl<'a> Entered<'a> {
    /// Takes the version that `inside` leads to.
    ///
    /// # Errors
    ///
    /// `EIO` if it leads nowhere: no version was mounted, or it has gone.
    pub(super) fn new(sb: &'a CoreSuper, inside: Inside<'a>) -> Result<Self> {
        let (loaded, generation) = match inside.version() {
            Some(version) => (version.loaded, version.generation),
            None => return Err(EIO),
        };
        // INVARIANT: The version does not change while someone is inside.
        Ok(Self {
            sb,
            loaded,
            generation,
            inside: Some(inside),
        })
    }

    /// The generation of the version inside.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    fn table(&self) -> &Instance {
        self.loaded.table()
    }

    fn state(&self) -> State {
        self.loaded.state()
    }

    /// Makes sure that the version's own data is in `inode`.
    fn attach(&self, inode: &CoreInode) -> Result {
        if inode.tag() == self.generation() {
            return Ok(());
        }
        inode.lock_node_to_attach();
        let result = if inode.tag() == self.generation() {
            Ok(())
        } else {
            // SAFETY: The node lock is held exclusively, and the tag says that the data is not this
            // version's. No task of another version is inside.
            unsafe { inode.set_tag(NO_GENERATION) };
            // SAFETY: As above, and the state is mounted by the type invariant.
            let result = unsafe {
                (self.table().attach)(
                    self.state(),
                    self.sb.volume(),
                    inode,
                    &mut *inode.node_area(),
                )
            };
            if result.is_ok() {
                // SAFETY: The lock is held, `attach` has written the data.
                unsafe { inode.set_tag(self.generation()) };
            }
            result
        };
        // SAFETY: Taken above.
        unsafe { inode.unlock_node_exclusive() };
        result
    }

    pub(super) fn space(&self) -> Result<Space> {
        // SAFETY: The state is mounted by the type invariant.
        unsafe { (self.table().space)(self.state(), self.sb.volume()) }
    }

    pub(super) fn set_clean(&self, handle: &Handle<'_>, space: Option<Space>) -> Result {
        // SAFETY: As in `space`.
        unsafe { (self.table().set_clean)(self.state(), handle, space) }
    }

    pub(super) fn set_error(&self, handle: &Handle<'_>) -> Result {
        // SAFETY: As in `space`.
        unsafe { (self.table().set_error)(self.state(), handle) }
    }

    /// Reads the inode of the number that `inode` has, and its cached data.
    ///
    /// # Safety
    ///
    /// Nobody else uses `inode`: it is `I_NEW`.
    pub(super) unsafe fn read_inode(&self, inode: &CoreInode) -> Result<Attributes> {
        // SAFETY: As in `space`; nobody else has the node area.
        let attributes = unsafe {
            (self.table().read_inode)(
                self.state(),
                self.sb.volume(),
                inode.ino(),
                &mut *inode.node_area(),
            )
        }?;
        // SAFETY: `read_inode` has written the data.
        unsafe { inode.set_tag(self.generation()) };
        Ok(attributes)
    }

    pub(super) fn read_link(&self, inode: &CoreInode, target: &mut [u8]) -> Result<usize> {
        self.attach(inode)?;
        // SAFETY: The state is mounted by the type invariant, the inode is attached.
        unsafe { (self.table().read_link)(self.state(), self.sb.volume(), inode, target) }
    }

    pub(super) fn lookup(&self, dir: &CoreInode, name: Name<'_>) -> Result<Option<Ino>> {
        self.attach(dir)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().lookup)(self.state(), self.sb.volume(), dir, name) }
    }

    pub(super) fn read_dir(
        &self,
        dir: &CoreInode,
        position: u64,
        sink: &mut DirSink<'_>,
    ) -> Result {
        self.attach(dir)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().read_dir)(self.state(), self.sb.volume(), dir, position, sink) }
    }

    pub(super) fn parent(&self, dir: &CoreInode) -> Result<Ino> {
        self.attach(dir)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().parent)(self.state(), self.sb.volume(), dir) }
    }

    pub(super) fn alloc_inode(
        &self,
        claims: &Claims<'_>,
        dir: &CoreInode,
        kind: Kind,
    ) -> Result<Ino> {
        self.attach(dir)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().alloc_inode)(self.state(), self.sb.volume(), claims, dir, kind) }
    }

    /// Makes the new `inode`, whose cached data it writes.
    ///
    /// # Safety
    ///
    /// Nobody else uses `inode`: it is `I_NEW`.
    pub(super) unsafe fn create(
        &self,
        handle: &Handle<'_>,
        dir: &CoreInode,
        inode: &CoreInode,
        new: &NewInode<'_>,
    ) -> Result {
        self.attach(dir)?;
        // SAFETY: As in `read_link`; nobody else has the new inode's node area.
        unsafe {
            (self.table().create)(
                self.state(),
                handle,
                dir,
                inode,
                new,
                &mut *inode.node_area(),
            )
        }?;
        // SAFETY: `create` has written the data.
        unsafe { inode.set_tag(self.generation()) };
        Ok(())
    }

    pub(super) fn link(
        &self,
        handle: &Handle<'_>,
        dir: &CoreInode,
        inode: &CoreInode,
        name: Name<'_>,
    ) -> Result {
        self.attach(dir)?;
        self.attach(inode)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().link)(self.state(), handle, dir, inode, name) }
    }

    pub(super) fn unlink(
        &self,
        handle: &Handle<'_>,
        dir: &CoreInode,
        inode: &CoreInode,
        name: Name<'_>,
    ) -> Result {
        self.attach(dir)?;
        self.attach(inode)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().unlink)(self.state(), handle, dir, inode, name) }
    }

    pub(super) fn rename(&self, handle: &Handle<'_>, rename: &RawRename<'_>) -> Result {
        self.attach(rename.old_dir)?;
        self.attach(rename.inode)?;
        self.attach(rename.new_dir)?;
        for inode in [rename.target, rename.whiteout].into_iter().flatten() {
            self.attach(inode)?;
        }
        // SAFETY: As in `read_link`.
        unsafe { (self.table().rename)(self.state(), handle, rename) }
    }

    pub(super) fn write_inode(&self, handle: &Handle<'_>, inode: &CoreInode) -> Result {
        self.attach(inode)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().write_inode)(self.state(), handle, inode) }
    }

    pub(super) fn set_orphan(
        &self,
        handle: &Handle<'_>,
        inode: &CoreInode,
        orphan: bool,
    ) -> Result {
        self.attach(inode)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().set_orphan)(self.state(), handle, inode, orphan) }
    }

    pub(super) fn next_orphan(&self, cursor: Ino) -> Result<Option<Ino>> {
        // SAFETY: As in `space`.
        unsafe { (self.table().next_orphan)(self.state(), self.sb.volume(), cursor) }
    }

    pub(super) fn map(
        &self,
        claims: &Claims<'_>,
        inode: &CoreInode,
        range: FileRange,
        intent: Intent,
    ) -> Result<Mapping> {
        self.attach(inode)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().map)(self.state(), self.sb.volume(), claims, inode, range, intent) }
    }

    pub(super) fn publish(&self, handle: &Handle<'_>, inode: &CoreInode, extent: Extent) -> Result {
        self.attach(inode)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().publish)(self.state(), handle, inode, extent) }
    }

    pub(super) fn free_blocks(
        &self,
        handle: &Handle<'_>,
        inode: &CoreInode,
        range: FileRange,
    ) -> Result<Step> {
        self.attach(inode)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().free_blocks)(self.state(), handle, inode, range) }
    }

    pub(super) fn free_inode(&self, handle: &Handle<'_>, inode: &CoreInode) -> Result {
        self.attach(inode)?;
        // SAFETY: As in `read_link`.
        unsafe { (self.table().free_inode)(self.state(), handle, inode) }
    }

    pub(super) fn inode_block(&self, ino: Ino) -> Option<Block> {
        // SAFETY: As in `space`.
        unsafe { (self.table().inode_block)(self.state(), ino) }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        drop(self.inside.take());
        self.sb.after_leaving();
    }
}
