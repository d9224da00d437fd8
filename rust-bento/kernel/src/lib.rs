// SPDX-License-Identifier: GPL-2.0

//! The kernel crate's names, over std.
//!
//! A Bento file system is written against the crate `kernel`. In the kernel that is the real one;
//! cargo gives it this one, which has the same names for everything such a file system may use:
//! [`prelude`], [`error`], [`alloc`] and [`bento`]. What this crate adds for programs around a file
//! system (devices, the journal, a mount) is in [`user`], which no file system may name.
//!
//! # The Bento API
//!
//! These names, with their methods, are all that a file system has of the kernel; with `core`,
//! `zerocopy` and `zerocopy_derive` they are all that it imports. Both worlds are built by CI, so
//! one that is missing in either fails there.
//!
//! | for | names |
//! |---|---|
//! | the trait | [`bento::FileSystem`] |
//! | the volume | [`bento::Volume`], [`bento::VolumeInfo`], [`bento::JournalArea`], [`bento::Space`], [`bento::Credits`], [`bento::Block`] |
//! | metadata blocks | [`bento::Buffer`], [`bento::Writable`], [`bento::BlockUse`], [`bento::crc32c()`] |
//! | transactions | [`bento::Handle`] |
//! | inodes | [`bento::Inode`], [`bento::ReadGuard`], [`bento::WriteGuard`], [`bento::NewInode`], [`bento::Attributes`], [`bento::StoredAttributes`], [`bento::Ino`], [`bento::Kind`], [`bento::Time`], [`bento::NODE_SIZE`] |
//! | names | [`bento::Name`], [`bento::NAME_MAX`], [`bento::DirSink`], [`bento::Rename`] |
//! | data | [`bento::Extent`], [`bento::FileRange`], [`bento::Mapping`], [`bento::Intent`], [`bento::Claims`], [`bento::Step`] |
//! | mount options | [`bento::Options`], [`bento::OptionSpec`], [`bento::OptionValue`] |
//! | replacement of a mounted version | [`bento::StateWriter`], [`bento::StateReader`], [`bento::StateRecord`], [`bento::Need`], [`bento::STATE_HEADER`], [`bento::STATE_RECORD`], [`bento::STATE_SIZE_MAX`], [`bento::Variant`], [`bento::Versioned`] |
//! | locks | [`bento::sync::Mutex`], [`bento::sync::Guard`] |
//! | memory | [`alloc::KBox`], [`alloc::KVec`], [`alloc::KVVec`], [`alloc::flags`] |
//! | errors | [`error::Error`], [`error::Result`], [`error::code`] |
//! | messages | [`pr_err!`], [`pr_warn!`], [`pr_notice!`], [`pr_info!`], [`pr_debug!`], [`fmt!`] |
//! | else | [`static_assert!`] |

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
