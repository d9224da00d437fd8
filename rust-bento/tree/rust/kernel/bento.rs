// SPDX-License-Identifier: GPL-2.0

//! Bento: block device file systems in safe Rust.
//!
//! A file system implements one safe trait; everything that must outlive a version of it (super
//! block, inodes, page cache, journal) belongs to this module. See
//! `Documentation/filesystems/bento/`.
