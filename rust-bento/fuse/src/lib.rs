// SPDX-License-Identifier: GPL-2.0

//! Serves a Bento file system to the kernel by FUSE: the same source that the kernel module has.
//!
//! [`serve`](serve::serve) takes a [`Mount`](kernel::user::Mount), makes it a mount of the system's
//! and answers until that ends. What is switched on, and what the crate `fuser` lacks, is in the
//! manual page.
//!
//! No lock of this crate is held while data moves: requests run in parallel, each in the thread
//! that read it, and wait for each other only where [`Mount`](kernel::user::Mount) says so.

#![forbid(unsafe_code)]

mod adapter;
pub mod background;
mod convert;
pub mod image;
pub mod mount_point;
pub mod options;
pub mod serve;
mod served;
mod writeback;
