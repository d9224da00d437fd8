// SPDX-License-Identifier: GPL-2.0

//! The Bento API, as a file system sees it: the twin of the kernel crate's module of this name.
//!
//! [`types`], [`fs`](mod@fs), [`state`] and [`versioned`] are the kernel's own files.

mod buffer;
mod claims;
mod dir;
#[path = "../../tree/rust/kernel/bento/fs.rs"]
pub mod fs;
mod handle;
mod inode;
mod options;
#[path = "../../tree/rust/kernel/bento/state.rs"]
pub mod state;
#[path = "../../tree/rust/kernel/bento/stored.rs"]
mod stored;
pub mod sync;
#[path = "../../tree/rust/kernel/bento/types.rs"]
pub mod types;
#[path = "../../tree/rust/kernel/bento/versioned.rs"]
pub mod versioned;
mod volume;

pub use self::{
    buffer::{
        Buffer,
        Writable, //
    },
    claims::Claims,
    dir::DirSink,
    fs::*,
    handle::Handle,
    inode::{
        Inode,
        ReadGuard,
        WriteGuard, //
    },
    options::Options,
    state::*,
    stored::StoredAttributes,
    types::*,
    versioned::*,
    volume::Volume, //
};
pub(crate) use self::{
    claims::ClaimLog,
    inode::InodeCore, //
};

/// The greatest size of a [`FileSystem::Node`]; its alignment is at most 8.
pub const NODE_SIZE: usize = 192;

/// CRC32C as the kernel's `crc32c()`: the seed goes in and the sum comes out as they are.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}
