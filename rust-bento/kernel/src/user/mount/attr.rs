// SPDX-License-Identifier: GPL-2.0

//! Attributes.

use super::Mount;
use crate::{
    bento::{
        Attributes,
        FileSystem,
        Ino,
        Kind,
        Time, //
    },
    error::{
        code::*,
        Result, //
    },
};

const S_ISUID: u16 = 0o4000;
const S_ISGID: u16 = 0o2000;
const S_IXGRP: u16 = 0o0010;

/// An inode's number and attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The inode.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOrNow {
    /// The present.
    Now,
    /// This.
    Time(Time),
}

/// What to change of an inode's attributes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permissions: the lower 12 bits.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size; the file is cut or extended.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<TimeOrNow>,
    /// Last change of the content.
    pub mtime: Option<TimeOrNow>,
    /// Last change of content or attributes: the present if it is not given.
    pub ctime: Option<Time>,
    /// `FS_*_FL` flags.
    pub flags: Option<u32>,
}

/// An access is recorded at least so often, in seconds, as `relatime` has it.
const ATIME_AGE: i64 = 24 * 3600;

impl<F: FileSystem> Mount<F> {
    /// The attributes of an inode.
    pub fn stat(&self, ino: Ino) -> Result<Stat> {
        Ok(self.get(ino)?.stat())
    }

    /// Changes attributes. A change of the size comes first, in transactions of its own.
    pub fn set_attr(&self, ino: Ino, change: &SetAttr) -> Result<Stat> {
        self.check_writable()?;
        let inode = self.get(ino)?;
        let inode = inode.state();
        let _content = inode.lock();
        if let Some(size) = change.size {
            match inode.kind() {
                Kind::Regular => {}
                Kind::Directory => return Err(EISDIR),
                _ => return Err(EINVAL),
            }
            self.set_size(inode, size)?;
        }
        let before = inode.attributes();
        let now = self.now();
        inode.update(|attributes| self.apply(attributes, change, now));
        self.transact(self.credits.write_inode, 0, &[inode], |handle| {
            self.fs.write_inode(handle, inode.view())
        })
        .inspect_err(|_| inode.update(|attributes| *attributes = before))?;
        Ok(Stat {
            ino,
            kind: inode.kind(),
            attributes: inode.attributes(),
        })
    }

    fn apply(&self, attributes: &mut Attributes, change: &SetAttr, now: Time) {
        let resolve = |time| match time {
            TimeOrNow::Now => now,
            TimeOrNow::Time(time) => self.clamp(time),
        };
        if change.uid.is_some() || change.gid.is_some() {
            attributes.uid = change.uid.unwrap_or(attributes.uid);
            attributes.gid = change.gid.unwrap_or(attributes.gid);
            if Kind::from_mode(attributes.mode) != Some(Kind::Directory) {
                attributes.mode &= !S_ISUID;
                if attributes.mode & S_IXGRP != 0 {
                    attributes.mode &= !S_ISGID;
                }
            }
        }
        if let Some(mode) = change.mode {
            attributes.mode = attributes.mode & 0o170_000 | mode & 0o7777;
        }
        if let Some(time) = change.atime {
            attributes.atime = resolve(time);
        }
        match change.mtime {
            Some(time) => attributes.mtime = resolve(time),
            None if change.size.is_some() => attributes.mtime = now,
            None => {}
        }
        if let Some(flags) = change.flags {
            attributes.flags = flags;
        }
        attributes.ctime = change.ctime.map_or(now, |time| self.clamp(time));
        attributes.version = attributes.version.wrapping_add(1);
    }

    /// Records that an inode in memory was read, by the rule of `relatime`. It is stored with the
    /// next change, or by [`Mount::sync`].
    pub fn accessed(&self, ino: Ino) {
        if self.volume().is_read_only() {
            return;
        }
        let Some(inode) = self.get_ready(ino) else {
            return;
        };
        let now = self.now();
        let mut changed = false;
        inode.state().update(|attributes| {
            let before = attributes.atime;
            changed = before <= attributes.mtime
                || before <= attributes.ctime
                || now.sec.saturating_sub(before.sec) >= ATIME_AGE;
            if changed {
                attributes.atime = now;
            }
        });
        if changed {
            inode.state().set_dirty();
        }
    }
}
