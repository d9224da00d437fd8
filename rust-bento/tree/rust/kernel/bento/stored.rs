// SPDX-License-Identifier: GPL-2.0

//! Attributes as a record on disk, for file systems that have no older form of their own to keep.
//!
//! This file is compiled in both worlds, see [`types`](super::types).

use super::{
    Attributes,
    Time, //
};
use zerocopy::little_endian::{
    U16,
    U32,
    U64, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// A [`Time`] on disk.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct StoredTime {
    /// Two's complement.
    sec: U64,
    nsec: U32,
    /// Zero.
    unused: U32,
}

/// [`Attributes`] on disk: 128 bytes, little-endian. A zeroed one has mode 0, which no inode has.
///
/// # Examples
///
/// ```
/// use kernel::bento::{Attributes, StoredAttributes};
///
/// let attributes = Attributes { mode: 0o100644, nlink: 1, size: 7, ..Attributes::default() };
/// let stored = StoredAttributes::from(&attributes);
/// assert_eq!(stored.mode(), 0o100644);
/// assert_eq!(Attributes::from(&stored), attributes);
/// ```
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StoredAttributes {
    mode: U16,
    /// Zero.
    unused: U16,
    nlink: U32,
    uid: U32,
    gid: U32,
    size: U64,
    sectors: U64,
    version: U64,
    generation: U32,
    flags: U32,
    rdev: U32,
    /// Zero.
    reserved: U32,
    /// Of access, modification, change, birth.
    times: [StoredTime; 4],
    /// Zero.
    tail: U64,
}

impl StoredAttributes {
    /// [`Attributes::mode`], to tell a record that is in use from a zeroed one.
    pub fn mode(&self) -> u16 {
        self.mode.get()
    }

    /// [`Attributes::nlink`].
    pub fn nlink(&self) -> u32 {
        self.nlink.get()
    }

    /// [`Attributes::size`].
    pub fn size(&self) -> u64 {
        self.size.get()
    }
}

impl From<&Attributes> for StoredAttributes {
    fn from(from: &Attributes) -> Self {
        let time = |time: Time| StoredTime {
            sec: (time.sec as u64).into(),
            nsec: time.nsec.into(),
            ..StoredTime::default()
        };
        Self {
            mode: from.mode.into(),
            nlink: from.nlink.into(),
            uid: from.uid.into(),
            gid: from.gid.into(),
            size: from.size.into(),
            sectors: from.sectors.into(),
            version: from.version.into(),
            generation: from.generation.into(),
            flags: from.flags.into(),
            rdev: from.rdev.into(),
            times: [from.atime, from.mtime, from.ctime, from.btime].map(time),
            ..Self::default()
        }
    }
}

impl From<&StoredAttributes> for Attributes {
    /// What came from a device is not checked: the core looks at mode, size and times when an inode
    /// is read.
    fn from(from: &StoredAttributes) -> Self {
        let [atime, mtime, ctime, btime] = from.times.map(|time| Time {
            sec: time.sec.get() as i64,
            nsec: time.nsec.get(),
        });
        Self {
            mode: from.mode.get(),
            nlink: from.nlink.get(),
            uid: from.uid.get(),
            gid: from.gid.get(),
            size: from.size.get(),
            sectors: from.sectors.get(),
            atime,
            mtime,
            ctime,
            btime,
            generation: from.generation.get(),
            version: from.version.get(),
            flags: from.flags.get(),
            rdev: from.rdev.get(),
        }
    }
}
