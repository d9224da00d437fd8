// SPDX-License-Identifier: GPL-2.0

//! The sample file system of the tutorial as a user-space crate: the kernel module's source, byte
//! for byte; and what makes and checks its volumes.

#![forbid(unsafe_code)]

mod fsck;
mod mkfs;
#[path = "../../../tree/samples/rust/tinyfs/tinyfs.rs"]
pub mod tinyfs;

pub use self::{
    fsck::{
        fsck,
        Report, //
    },
    mkfs::mkfs,
    tinyfs::TinyFs, //
};
