// SPDX-License-Identifier: GPL-2.0

//! The tutorial's file system as a kernel module.

use kernel::{
    bento::Registration,
    prelude::*, //
};

#[path = "tinyfs.rs"]
pub mod tinyfs;

module! {
    type: TinyFsModule,
    name: "rust_tinyfs",
    authors: ["Bento"],
    description: "tinyfs, a sample Bento file system",
    license: "GPL",
    alias: ["fs-tinyfs"],
}

/// The loaded module: tinyfs is registered while it lives.
pub struct TinyFsModule {
    _registration: Registration,
}

impl kernel::Module for TinyFsModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _registration: Registration::new::<tinyfs::TinyFs>(module)?,
        })
    }
}
