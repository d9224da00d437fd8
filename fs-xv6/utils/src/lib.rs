// SPDX-License-Identifier: GPL-2.0

//! What `mkfs.xv6`, `fsck.xv6` and `xv6-mutate` are made of.
//!
//! The on-disk structures are those of the file system itself (`xv6::layout`); here they are
//! written by hand, over a plain device, without a mounted file system around them.

#![forbid(unsafe_code)]

pub mod args;
pub mod failure;
pub mod fsck;
pub mod groups;
pub mod image;
pub mod in_use;
pub mod mkfs;
pub mod mutate;
pub mod populate;
pub mod random;

pub use failure::{
    Failure,
    Result, //
};
pub use fsck::fsck;
pub use mkfs::mkfs;
