// SPDX-License-Identifier: GPL-2.0

//! The core in user space: what plays the kernel's part around a file system.
//!
//! For programs and tests; a file system names nothing of it.

pub(crate) mod cache;
pub mod device;
pub mod fault;
pub mod journal;
pub(crate) mod space;
