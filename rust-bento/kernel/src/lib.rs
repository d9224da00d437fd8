// SPDX-License-Identifier: GPL-2.0

//! The kernel crate's names, over std.
//!
//! A Bento file system is written against the crate `kernel`. In the kernel that is the real one;
//! cargo gives it this one, which has the same names for everything such a file system may use:
//! [`prelude`], [`error`], [`alloc`] and [`bento`]. What this crate adds for programs around a file
//! system (devices, the journal, a mount) is in [`user`], which no file system may name.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

// The shared files and the macros say `kernel::`, as the kernel crate itself can.
extern crate self as kernel;

pub mod alloc;
pub mod bento;
pub mod error;
pub mod prelude;
pub mod print;
pub mod user;

pub use core::fmt;
