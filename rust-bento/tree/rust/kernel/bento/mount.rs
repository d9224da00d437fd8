// SPDX-License-Identifier: GPL-2.0

//! From a block device to a mounted file system, and back.
//!
//! Mounting goes: probe the volume, open the journal (which replays it), probe again, make the file
//! system, read what is free, the root, then what a crash left behind. Taking down goes the other
//! way, on umount and on any error half way.

use super::{
    context::{
        self,
        MountContext, //
    },
    export,
    iget,
    instance::Loaded,
    journal::{
        with_handle_to_mark,
        Journal, //
    },
    super_block::{
        CoreSuper,
        TreeShape, //
    },
    super_ops,
    sysfs::MountObject,
    Ino,
    Kind,
    Space, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// `get_tree_bdev`'s function: fills in a new super block.
///
/// # Safety
///
/// `fc` is a context of [`context`] with an implementation pinned; `sb` is new, with its device
/// open.
pub(super) unsafe extern "C" fn fill_super(
    sb: *mut bindings::super_block,
    fc: *mut bindings::fs_context,
) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let context = unsafe { context::of(fc) };
        // SAFETY: As above.
        unsafe { fill(sb, context) }?;
        Ok(0)
    })
}

/// # Safety
///
/// As [`fill_super`].
unsafe fn fill(sb: *mut bindings::super_block, context: &mut MountContext) -> Result {
    let pinned = context.pinned.take().ok_or(EINVAL)?;
    let table = pinned.table();
    // SAFETY: `sb` is new and has a device.
    if unsafe { bindings::sb_set_blocksize(sb, table.block_size as c_int) } == 0 {
        pr_err!(
            "bento: the device cannot take blocks of {} bytes\n",
            table.block_size
        );
        return Err(EINVAL);
    }
    // SAFETY: As above.
    let blocks = unsafe { bindings::bento_sb_blocks(sb) };
    // SAFETY: `take_down` drops the value while `sb` is still there.
    let core = unsafe { CoreSuper::new(sb, blocks, pinned, context) };
    let core = KBox::pin_init(core, GFP_KERNEL)?;
    // SAFETY: The box stays where it is until `take_down`.
    unsafe { (*sb).s_fs_info = KBox::into_raw(Pin::into_inner_unchecked(core)).cast() };
    // SAFETY: Just set.
    let core = unsafe { CoreSuper::from_raw(sb) };
    // SAFETY: `sb` is new, the core's part is in place, the module of `table` is pinned by it.
    let result = unsafe { bring_up(core, table) };
    if result.is_err() {
        // SAFETY: The mount has failed: there are no inodes (all were put, and a super block that
        // is not active keeps none), and nobody else knows `sb`.
        unsafe { take_down(sb) };
    }
    result
}

/// # Safety
///
/// `core` is that of a new super block, and the module of `table` is pinned while it lives.
unsafe fn bring_up(core: &CoreSuper, table: &'static super::instance::Instance) -> Result {
    let sb = core.raw();
    let volume = core.volume();

    let before = (table.probe)(volume)?;
    if before.blocks > core.blocks() {
        return Err(volume.refuse(
            EINVAL,
            fmt!(
                "its {} blocks do not fit on a device of {}",
                before.blocks,
                core.blocks()
            ),
        ));
    }
    core.journal.populate(Journal::open(core, before.journal)?);
    if let Err(error) = core.journal()?.last_error() {
        pr_warn!(
            "bento ({}): was given up when last mounted ({error:?}); fsck should look at it\n",
            core.name()
        );
    }
    // The replay may have brought back a newer super block.
    let info = (table.probe)(volume)?;
    if info.blocks > core.blocks() || info.journal != before.journal {
        return Err(volume.refuse(EUCLEAN, fmt!("the journal holds another super block")));
    }
    if info.read_only && !core.is_read_only() {
        return Err(volume.refuse(
            EROFS,
            fmt!("a feature that is not known allows read-only mounts only"),
        ));
    }
    core.info.populate(info);

    // SAFETY: By this function's requirement the module is pinned.
    let loaded = unsafe { Loaded::mount(table, volume, &core.given) }?;
    // SAFETY: Nobody knows the mount yet.
    unsafe { core.install(loaded) };
    let credits = loaded.credits();
    let largest = credits.largest();
    if largest > core.journal()?.max_credits() {
        return Err(volume.refuse(
            EINVAL,
            fmt!("the journal is too small for an operation of {largest} blocks"),
        ));
    }
    core.tree.populate(TreeShape::of(&credits));
    let space = core.enter()?.space()?;
    core.space().set_totals(space)?;
    if core.commit_seconds() != 0 {
        core.journal()?.set_commit_interval(core.commit_seconds());
    }

    // SAFETY: `sb` is new, and nobody else uses it.
    unsafe {
        (*sb).s_magic = 0x4265_6e74; // "Bent"
        (*sb).s_op = &super_ops::SUPER_OPS;
        (*sb).s_export_op = &export::EXPORT_OPS;
        (*sb).s_maxbytes = i64::try_from(info.max_file_size).unwrap_or(i64::MAX);
        (*sb).s_max_links = info.max_links;
        (*sb).s_time_gran = 1;
        (*sb).s_time_min = info.time_min;
        (*sb).s_time_max = info.time_max;
        bindings::super_set_uuid(sb, info.uuid.as_ptr(), 16);
    }

    let root = iget::iget(core, info.root)?;
    if root.kind() != Kind::Directory || root.nlink() == 0 {
        return Err(volume.corrupt(fmt!("the root, inode {}, is not a directory", info.root)));
    }
    if !core.is_read_only() {
        start_writing(core)?;
    }
    // Before the root: a super block that has one is ended by `put_super`.
    core.object.populate(MountObject::new(core)?);
    // SAFETY: `sb` is new; this takes the reference to the inode, also when it fails.
    unsafe {
        (*sb).s_root = bindings::d_make_root(root.into_raw());
        if (*sb).s_root.is_null() {
            return Err(ENOMEM);
        }
    }
    Ok(())
}

/// Makes a volume that may be written to ready for it: it is in use from now on, and what a crash
/// left behind is finished.
fn start_writing(core: &CoreSuper) -> Result {
    if core.journal()?.is_aborted() {
        return Err(EROFS);
    }
    // What a mount left in the journal goes where fsck looks, and only then away.
    let given_up = core.journal()?.last_error().is_err();
    if given_up {
        core.journal()?.acknowledge_error();
    }
    set_clean(core, None)?;
    if given_up || core.damage().is_met() {
        set_error(core)?;
    }
    if given_up {
        core.journal()?.commit(true)?;
        core.journal()?.clear_error();
    }
    core.set_writing(true);
    finish_orphans(core).inspect_err(|_| core.set_writing(false))
}

/// Records whether the volume is in use.
fn set_clean(core: &CoreSuper, space: Option<Space>) -> Result {
    with_handle_to_mark(
        core,
        |credits| (credits.set_clean, 0),
        |entered, handle| entered.set_clean(handle, space),
    )
}

/// Records that damage was met.
pub(super) fn set_error(core: &CoreSuper) -> Result {
    with_handle_to_mark(
        core,
        |credits| (credits.set_clean, 0),
        |entered, handle| entered.set_error(handle),
    )
}

/// Evicts or truncates what was an orphan when the machine stopped.
fn finish_orphans(core: &CoreSuper) -> Result {
    let mut cursor: Ino = 0;
    let mut count = 0u64;
    loop {
        let Some(ino) = core.enter()?.next_orphan(cursor)? else {
            break;
        };
        if ino <= cursor {
            return Err(core
                .volume()
                .corrupt(fmt!("the list of orphans goes back from {cursor} to {ino}")));
        }
        cursor = ino;
        let inode = match iget::iget(core, ino) {
            Ok(inode) => inode,
            Err(error) => {
                pr_err!(
                    "bento ({}): orphan {ino} cannot be read ({error:?}), and stays\n",
                    core.name()
                );
                if error == ENOMEM {
                    return Err(error);
                }
                core.note_orphan();
                continue;
            }
        };
        if inode.nlink() != 0 {
            super::data::finish_truncate(&inode)?;
        }
        count += 1;
        // The last reference to an inode without links evicts it.
        drop(inode);
    }
    if count != 0 {
        // Blocks that were freed count as free after a commit.
        core.journal()?.commit(true)?;
        pr_info!(
            "bento ({}): {count} orphans were removed or truncated\n",
            core.name()
        );
    }
    Ok(())
}

/// Writes all that is left, and records that the volume is clean, or that damage was met. If it has
/// orphans, or if it was `forced` and so may have some, it is neither: the next mount finishes
/// them.
fn stop_writing(core: &CoreSuper, forced: bool) -> Result {
    let journal = core.journal()?;
    if journal.is_aborted() {
        return Err(EIO);
    }
    core.set_writing(false);
    // The worker that records damage sees that, or has ended.
    core.publisher().drain();
    journal.commit(true)?;
    if core.damage().is_met() {
        // Where damage was met fsck has to look, so the volume is not clean.
        set_error(core)?;
    } else if !core.has_orphans() && !forced {
        // Commits release freed blocks, so now the counts are those of the volume.
        set_clean(core, Some(core.space().snapshot()))?;
    }
    journal.commit(true)?;
    journal.flush()
}

/// `put_super`: the inodes are gone.
pub(super) fn unmount(core: &CoreSuper) {
    if core.is_read_only() {
        return;
    }
    if let Err(error) = stop_writing(core, false) {
        pr_err!(
            "bento ({}): not left clean ({error:?}); the next mount replays the journal\n",
            core.name()
        );
    }
}

/// Drops the core's part of a super block, and the journal and the file system with it.
///
/// # Safety
///
/// The mount has no inodes, and nobody uses it but the caller.
pub(super) unsafe fn take_down(sb: *mut bindings::super_block) {
    // SAFETY: By this function's requirement; the box came from `fill`.
    let core = unsafe { Pin::new_unchecked(KBox::from_raw((*sb).s_fs_info.cast::<CoreSuper>())) };
    // Waits for who reads or writes a file in sysfs.
    if let Some(object) = core.object.as_ref() {
        object.remove();
    }
    core.publisher().drain();
    // The journal first: its commits reach the core's sets.
    if let Some(journal) = core.journal.as_ref() {
        journal.destroy();
    }
    // SAFETY: Nobody enters again.
    if let Some(version) = unsafe { core.gate.remove() } {
        // SAFETY: Nobody is inside, so nobody uses it. `core` still pins its module.
        unsafe { version.loaded.unmount() };
    }
    // SAFETY: By this function's requirement.
    unsafe { (*sb).s_fs_info = core::ptr::null_mut() };
    drop(core);
}

impl CoreSuper {
    /// Remounts. `s_umount` is held. The VFS does what is `forced` (SysRq-U) also after an error,
    /// and while files are open for writing, or have no name any more.
    pub(super) fn reconfigure(
        &self,
        context: &MountContext,
        read_only: bool,
        forced: bool,
    ) -> Result {
        let sb = self.raw();
        if read_only && !self.is_read_only() {
            // SAFETY: `sb` is mounted, and `s_umount` is held.
            let synced = to_result(unsafe { bindings::sync_filesystem(sb) });
            if !forced {
                synced?;
            }
            self.publisher().drain();
            match stop_writing(self, forced) {
                // An aborted journal writes nothing any more: read-only is what it is.
                Err(error) if !forced && !self.journal()?.is_aborted() => {
                    self.set_writing(true);
                    return Err(error);
                }
                _ => (),
            }
        }
        if !read_only && self.check_writable().is_err() {
            pr_err!(
                "bento ({}): was stopped; unmount it and run fsck before writing to it again\n",
                self.name()
            );
            return Err(EROFS);
        }
        if !read_only && self.is_read_only() {
            if self.info()?.read_only {
                return Err(self.volume().refuse(
                    EROFS,
                    fmt!("a feature that is not known allows read-only mounts only"),
                ));
            }
            // SAFETY: The device is open.
            if unsafe { bindings::bento_bdev_read_only(self.bdev()) } {
                return Err(EROFS);
            }
            start_writing(self)?;
        }
        if let Some(on_error) = context.on_error {
            self.set_on_error(on_error);
        }
        if let Some(discard) = context.discard {
            self.set_discard(discard);
        }
        if let Some(seconds) = context.commit {
            self.set_commit_seconds(seconds);
            if let Ok(journal) = self.journal() {
                journal.set_commit_interval(seconds);
            }
        }
        Ok(())
    }
}
