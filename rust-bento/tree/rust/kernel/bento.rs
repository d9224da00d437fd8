// SPDX-License-Identifier: GPL-2.0

//! Bento: block device file systems in safe Rust.
//!
//! A file system implements [`FileSystem`], one safe trait, and a module registers it with a
//! [`Registration`]. Everything that must outlive a version of it (super block, inodes, page cache,
//! journal) belongs to this module, the core.
//!
//! # Layers, from the top
//!
//! - The operations that the VFS calls: `super_ops`, `namei`, `rename`, `dir`, `attr`, `symlink`,
//!   `export`, `ioctl`, `evict`, `file`. One set of tables for all file systems. They do all that
//!   waits for something outside: inodes, dentries, the page cache, the start of a transaction.
//! - `upgrade`: the replacement of a mounted version, asked for by `request` or `sysfs`.
//! - `gate`: passed for each call of a file system. `entered` makes the calls, through the erased
//!   table of `instance`.
//! - The file system, in its module. It is given borrowed [`Inode`]s, names and numbers, reads
//!   metadata by [`Volume::read`], and changes it by a [`Handle`].
//! - `buffer`, `writable`, `journal`: metadata blocks and jbd2.
//! - `claims`, `space`, `extents`, `data`, `iomap`, `writeback`: which blocks are taken, and file
//!   data, which becomes part of a file after it is on disk.
//!
//! Nothing above the gate is generic: a generic function is text of the module that names it, and a
//! task that has left the gate must not be in text that may be unloaded.
//!
//! # Lock order
//!
//! VFS locks, folios and inode states; then a handle; then the gate; then a file system's own
//! locks; then one metadata buffer at a time; then spinlocks. Nobody waits for what is on the left.

mod attr;
mod buffer;
mod cache;
mod change;
mod claims;
mod context;
mod damage;
mod data;
mod dir;
mod direct;
mod discard;
mod entered;
mod evict;
mod export;
mod extents;
mod fallocate;
mod file;
mod fs;
mod gate;
mod history;
mod iget;
mod inode;
mod instance;
mod ioctl;
mod iomap;
mod journal;
mod kobject;
mod mount;
mod namei;
mod node;
mod options;
mod publish;
mod registry;
mod rename;
mod request;
mod size;
mod space;
#[cfg(CONFIG_KUNIT)]
mod space_tests;
mod state;
mod stored;
mod super_block;
mod super_ops;
mod symlink;
pub mod sync;
mod sysfs;
mod table;
mod types;
mod upgrade;
mod versioned;
mod volume;
mod writable;
mod writeback;

pub use self::{
    buffer::{
        crc32c,
        Buffer, //
    },
    claims::Claims,
    dir::DirSink,
    fs::{
        FileSystem,
        NewInode,
        OptionSpec,
        OptionValue,
        Rename, //
    },
    instance::NODE_SIZE,
    journal::Handle,
    node::{
        Inode,
        ReadGuard,
        WriteGuard, //
    },
    options::Options,
    registry::Registration,
    state::*,
    stored::StoredAttributes,
    types::*,
    versioned::{
        Variant,
        Versioned, //
    },
    volume::Volume,
    writable::Writable, //
};

use crate::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// Brings up the core. Called once, at boot.
///
/// # Errors
///
/// `EBUSY` if it was called before; `ENOMEM`.
pub fn init() -> Result {
    static UP: Atomic<bool> = Atomic::new(false);
    if UP.xchg(true, Relaxed) {
        return Err(EBUSY);
    }
    cache::init()?;
    sysfs::init()?;
    // SAFETY: This is the only call.
    unsafe { registry::init() };
    Ok(())
}
