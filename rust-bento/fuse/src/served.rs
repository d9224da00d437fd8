// SPDX-License-Identifier: GPL-2.0

//! A mount as the threads of the server share it.

use kernel::{
    bento::{
        FileSystem,
        Ino, //
    },
    error::{
        code::*,
        Result, //
    },
    pr_err,
    user::Mount,
};
use std::{
    panic::{
        catch_unwind,
        AssertUnwindSafe, //
    },
    sync::{
        Condvar,
        Mutex,
        PoisonError,
        RwLock, //
    },
    time::Duration,
};

/// A mount that requests go through, and that can be taken away from them.
///
/// The lock is the gate in user space: requests hold it shared, and whoever holds it exclusive
/// knows that no thread runs in the file system. Inodes that the kernel knows are references in
/// the mount; no file handles exist. So whatever replaces the mount finds everything in it.
pub(crate) struct Served<F: FileSystem> {
    mount: RwLock<Option<Mount<F>>>,
    /// The kernel forgot an inode. It tells so long after `unlink` returned, and only then is a
    /// file without a name freed.
    forgot: (Mutex<()>, Condvar),
}

/// How long one inode may take to be forgotten and freed, before it is taken for one in use.
const PATIENCE: Duration = Duration::from_millis(10);

impl<F: FileSystem> Served<F> {
    pub(crate) fn new(mount: Mount<F>) -> Self {
        Self {
            mount: RwLock::new(Some(mount)),
            forgot: Default::default(),
        }
    }

    /// Does something with the mount. `EIO` if it is gone, or if that panicked: a bug, told on
    /// standard error, that takes no thread of the server along.
    pub(crate) fn with<R>(&self, mut act: impl FnMut(&Mount<F>) -> Result<R>) -> Result<R> {
        let mount = self.mount.read().unwrap_or_else(PoisonError::into_inner);
        let mount = mount.as_ref().ok_or(EIO)?;
        catch_unwind(AssertUnwindSafe(|| match act(mount) {
            // What an earlier request removed may be free any moment.
            Err(ENOSPC) if self.settle(mount) => act(mount),
            result => result,
        }))
        .unwrap_or(Err(EIO))
    }

    /// Drops references that the kernel had: if the inode has no name either it is freed.
    pub(crate) fn forget(&self, ino: Ino, count: u64) {
        // What goes wrong in there is told by the mount, and nobody waits for an answer.
        let _ = self.with(|mount| {
            mount.unpin(ino, count);
            Ok(())
        });
        self.forgot.1.notify_all();
    }

    /// Waits while the kernel forgets inodes without a name, so that their space is free for
    /// whoever asks after it removed them. True if any went.
    pub(crate) fn settle(&self, mount: &Mount<F>) -> bool {
        let first = mount.nameless();
        let mut before = first;
        while before > 0 {
            let guard = self.forgot.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.forgot.1.wait_timeout(guard, PATIENCE));
            let now = mount.nameless();
            if now >= before {
                // Those that are left are open.
                break;
            }
            before = now;
        }
        before < first
    }

    /// Takes the mount away when the last request has left it, and ends it: the journal is empty
    /// and the volume clean. Nothing if that has been done.
    pub(crate) fn finish(&self) -> Result {
        let mut mount = self.mount.write().unwrap_or_else(PoisonError::into_inner);
        match mount.take() {
            Some(mount) => mount.umount().inspect_err(|error| {
                pr_err!("bento-fuse: the volume could not be closed: {error}")
            }),
            None => Ok(()),
        }
    }
}
