// SPDX-License-Identifier: GPL-2.0

//! A mounted file system.
//!
//! Operations go by inode number, as a FUSE server asks for them; what gives an inode gives an
//! [`InodeRef`]. Permissions are the caller's business. Data is written straight to the device and
//! published after that: there is no page cache, and nothing is delayed but times.
//!
//! # Locks
//!
//! The rename lock, directories (the ancestor first), other inodes in the order of their numbers;
//! then a handle; then what the file system locks.

mod attr;
mod data;
mod direct;
mod fallocate;
mod icache;
mod namei;
mod readdir;
mod rename;
mod upgrade;

use self::icache::{
    InodeCache,
    InodeState, //
};
pub use self::{
    attr::{
        SetAttr,
        Stat,
        TimeOrNow, //
    },
    fallocate::SeekFrom,
    icache::InodeRef,
    namei::NewNode,
    rename::RenameMode,
    upgrade::Refused, //
};
use super::{
    device::Device,
    session::Session,
    types::{
        Errors,
        VolumeOptions, //
    }, //
};
use crate::{
    bento::{
        Credits,
        FileSystem,
        Handle,
        Ino,
        Kind,
        Options,
        Space,
        Time,
        Volume,
        VolumeInfo, //
    },
    error::{
        code::*,
        Result, //
    },
};
use std::{
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        SystemTime,
        UNIX_EPOCH, //
    },
};

/// Blocks that are kept for mapping trees, at most.
const POOL: u64 = 1024;

/// How to mount.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    /// Without writing: but the journal is replayed, if the device can be written to.
    pub read_only: bool,
    /// Tell the device which blocks have been freed.
    pub discard: bool,
    /// What to do when damage is met.
    pub errors: Errors,
    /// The file system's own options, with commas between.
    pub options: String,
}

/// A mounted file system, used by many threads.
///
/// Dropped without [`Mount::umount`], it leaves the device as a crash would.
pub struct Mount<F: FileSystem> {
    session: Session,
    fs: F,
    info: VolumeInfo,
    credits: Credits,
    total: Space,
    inodes: InodeCache<F::Node>,
    rename: Mutex<()>,
    /// The file system's own options, as they were given.
    options: String,
}

/// What is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Totals, and what is free.
    pub space: Space,
    /// Free blocks that anybody may have.
    pub available_blocks: u64,
    /// Blocks that become free with the next commit, which whoever needs them makes: they are not
    /// among the others.
    pub freed_blocks: u64,
    /// Greatest length of a name.
    pub name_max: u32,
}

impl<F: FileSystem> Mount<F> {
    /// Mounts the volume on `device`.
    ///
    /// # Errors
    ///
    /// Those of [`FileSystem::probe`] and [`FileSystem::mount`]; `EINVAL` for unknown options;
    /// `EUCLEAN` for a damaged journal; `EROFS` if the volume or the device may only be read, and
    /// the options do not say so, or the journal would have to be replayed; `EIO`.
    #[expect(clippy::self_named_constructors, reason = "that is what it does")]
    pub fn mount(device: Arc<dyn Device>, options: &MountOptions) -> Result<Self> {
        let own = options.options.split(',').filter(|text| !text.is_empty());
        let own = Options::parse(own, F::OPTIONS)?;
        let session = Session::with_options(
            device,
            VolumeOptions {
                read_only: options.read_only,
                discard: options.discard,
                errors: options.errors,
            },
        );
        let volume = session.volume();
        session.replay(F::probe(volume)?.journal)?;
        let info = F::probe(volume)?;
        if !options.read_only && (info.read_only || volume.device.is_read_only()) {
            return Err(volume.refuse(EROFS, format_args!("it may only be mounted read-only")));
        }
        let fs = F::mount(volume, &own)?;
        let total = fs.space(volume)?;
        session.set_space(&total, POOL.min(total.total_blocks / 64));
        let credits = fs.credits();
        let this = Self {
            session,
            fs,
            info,
            credits,
            total,
            inodes: InodeCache::new(),
            rename: Mutex::new(()),
            options: options.options.clone(),
        };
        this.begin()?;
        Ok(this)
    }

    fn begin(&self) -> Result {
        if !self.volume().is_read_only() {
            self.session.open_journal(self.info.journal)?;
            self.check_credits()?;
            self.session.transact(self.credits.set_clean, 0, |handle| {
                self.fs.set_clean(handle, None)
            })?;
            self.process_orphans()?;
        }
        let root = self.get_known(self.info.root)?;
        if root.state().kind() != Kind::Directory {
            return Err(self
                .volume()
                .corrupt(format_args!("the root inode is not a directory")));
        }
        Ok(())
    }

    fn check_credits(&self) -> Result {
        let c = &self.credits;
        let worst = [
            c.create,
            c.link,
            c.unlink,
            c.rename,
            c.write_inode,
            c.publish,
            c.free_blocks,
            c.free_inode,
            c.orphan,
            c.set_clean,
        ]
        .into_iter()
        .fold(0, u32::max);
        let limit = self.volume().journal()?.limit();
        match worst <= limit {
            true => Ok(()),
            false => Err(self.volume().refuse(
                EINVAL,
                format_args!("the journal allows {limit} blocks an operation, {worst} are needed"),
            )),
        }
    }

    /// Ends the mount: everything is written, and the volume marked as clean if no damage was met.
    /// What [`InodeRef::pin`] kept without a name is freed.
    pub fn umount(self) -> Result {
        if self.session.volume().is_read_only() {
            return match self.session.volume().journal() {
                // It became so because of damage: what was done before is kept, but the volume is
                // not clean.
                Ok(journal) if !journal.is_aborted() => self.session.close(),
                _ => Ok(()),
            };
        }
        self.unpin_nameless();
        // An inode that could not be freed is tried again, and left to the next mount if it cannot
        // be now.
        let freed = self.process_orphans();
        self.sync()?;
        if self.damage() != 0 {
            // Where damage was met fsck has to look, so the volume is not clean.
            self.session.transact(self.credits.set_clean, 0, |handle| {
                self.fs.set_error(handle)
            })?;
        } else if freed.is_ok() && self.fs.next_orphan(self.volume(), 0)?.is_none() {
            let space = self.space();
            self.session.transact(self.credits.set_clean, 0, |handle| {
                self.fs.set_clean(handle, Some(space))
            })?;
        }
        self.session.close()
    }

    /// Makes everything durable.
    ///
    /// # Errors
    ///
    /// `EROFS` once writing was given up; what the device says.
    pub fn sync(&self) -> Result {
        if self.volume().is_mounted_read_only() {
            return Ok(());
        }
        if self.is_stopped() {
            return Err(EROFS);
        }
        for ino in self.inodes.dirty() {
            if let Some(inode) = self.get_ready(ino) {
                self.write_if_dirty(inode.state())?;
            }
        }
        self.session.commit()
    }

    /// Makes a file durable: its data and its attributes.
    ///
    /// # Errors
    ///
    /// `EIO` once writing was given up; what the device says.
    pub fn fsync(&self, ino: Ino) -> Result {
        self.sync_inode(ino, |inode| self.write_if_dirty(inode))
    }

    /// Makes a file's data durable, and what it takes to find it. Its times may be lost.
    ///
    /// # Errors
    ///
    /// As [`Mount::fsync`].
    pub fn fdatasync(&self, ino: Ino) -> Result {
        self.sync_inode(ino, |_| Ok(()))
    }

    fn sync_inode(&self, ino: Ino, store: impl FnOnce(&InodeState<F::Node>) -> Result) -> Result {
        if self.volume().is_mounted_read_only() {
            return Ok(());
        }
        if self.is_stopped() {
            return Err(EIO);
        }
        let inode = self.get(ino)?;
        store(inode.state())?;
        self.session.commit_tid(inode.state().tid())
    }

    /// Whether writing was given up, after damage or an error: what is in memory only does not get
    /// to the device any more.
    fn is_stopped(&self) -> bool {
        let volume = self.volume();
        let aborted = volume.journal().is_ok_and(|journal| journal.is_aborted());
        volume.is_read_only() || aborted
    }

    /// Commits the running transaction, and writes no times: what a timer does every few seconds.
    pub fn commit(&self) -> Result {
        match self.session.volume().is_read_only() {
            true => Ok(()),
            false => self.session.commit(),
        }
    }

    /// What is free.
    pub fn statfs(&self) -> StatFs {
        let space = self.space();
        StatFs {
            space,
            available_blocks: space.free_blocks.saturating_sub(self.volume().space.pool()),
            freed_blocks: self.volume().space.freed(),
            name_max: crate::bento::NAME_MAX as u32,
        }
    }

    fn space(&self) -> Space {
        let (free_blocks, free_inodes) = self.volume().space.free();
        Space {
            free_blocks,
            free_inodes,
            ..self.total
        }
    }

    /// The root directory.
    pub fn root(&self) -> Ino {
        self.info.root
    }

    /// What the file system said of the volume.
    pub fn info(&self) -> &VolumeInfo {
        &self.info
    }

    /// The file system.
    pub fn fs(&self) -> &F {
        &self.fs
    }

    /// The volume.
    pub fn volume(&self) -> &Volume {
        self.session.volume()
    }

    /// Breaches of the contract so far: each is a bug of the file system.
    pub fn breaches(&self) -> u64 {
        self.session.breaches()
    }

    /// How often damage was met so far.
    pub fn damage(&self) -> u64 {
        self.session.damage()
    }

    fn check_writable(&self) -> Result {
        match self.volume().is_read_only() {
            true => Err(EROFS),
            false => Ok(()),
        }
    }

    /// Runs an operation under a handle, and remembers the transaction in the inodes that it
    /// changes.
    fn transact<R>(
        &self,
        credits: u32,
        revokes: u32,
        changes: &[&InodeState<F::Node>],
        operation: impl FnOnce(&Handle<'_>) -> Result<R>,
    ) -> Result<R> {
        let (value, tid) = self.session.transact_tid(credits, revokes, operation)?;
        for inode in changes {
            inode.set_tid(tid);
        }
        Ok(value)
    }

    /// Runs an operation; if there is no space, again after a commit when that gives some.
    fn with_space<R>(&self, mut operation: impl FnMut() -> Result<R>) -> Result<R> {
        for _ in 0..3 {
            match operation() {
                Err(ENOSPC) if self.volume().space.has_freed() => self.session.commit()?,
                result => return result,
            }
        }
        operation()
    }

    /// Stores the attributes of an inode if they have changed since they were stored. Not in the
    /// middle of a write, whose size is not published yet.
    fn write_if_dirty(&self, inode: &InodeState<F::Node>) -> Result {
        let _content = inode.lock_shared();
        if !inode.take_dirty() {
            return Ok(());
        }
        self.transact(self.credits.write_inode, 0, &[inode], |handle| {
            self.fs.write_inode(handle, inode.view())
        })
        .inspect_err(|_| inode.set_dirty())
    }

    /// The time, as it can be stored.
    fn now(&self) -> Time {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.clamp(Time {
            sec: now.as_secs() as i64,
            nsec: now.subsec_nanos(),
        })
    }

    fn clamp(&self, time: Time) -> Time {
        match () {
            _ if time.sec < self.info.time_min => Time {
                sec: self.info.time_min,
                nsec: 0,
            },
            _ if time.sec > self.info.time_max => Time {
                sec: self.info.time_max,
                nsec: 0,
            },
            _ => time,
        }
    }
}
