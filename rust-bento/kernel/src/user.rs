// SPDX-License-Identifier: GPL-2.0

//! The core in user space: what plays the kernel's part around a file system.
//!
//! For programs and tests; a file system names nothing of it.
//!
//! - [`device`]: block devices, with faults and recording for tests.
//! - [`journal`]: jbd2's format: make, replay.
//! - [`Session`]: a volume with transactions and no file system.
//! - [`Mount`]: a mounted file system.

pub(crate) mod cache;
pub(crate) mod data;
pub mod device;
pub mod fault;
pub mod journal;
mod mount;
mod session;
pub(crate) mod space;
pub(crate) mod types;

pub use self::{
    mount::{
        InodeRef,
        Mount,
        MountOptions,
        NewNode,
        Refused,
        RenameMode,
        SeekFrom,
        SetAttr,
        Stat,
        StatFs,
        TimeOrNow, //
    },
    session::Session,
    types::{
        Entry,
        Errors, //
    }, //
};
