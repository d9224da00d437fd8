// SPDX-License-Identifier: GPL-2.0

//! The xv6 file system as a user-space crate: the kernel module's source, byte for byte.

#![no_std]
#![forbid(unsafe_code)]

#[path = "tree/fs/xv6/xv6.rs"]
pub mod xv6;
pub use xv6::*;
