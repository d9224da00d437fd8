// SPDX-License-Identifier: GPL-2.0

//! The xv6 file system as a kernel module.

use kernel::prelude::*;

#[path = "xv6.rs"]
pub mod xv6;

module! {
    type: Xv6Module,
    name: "xv6",
    authors: ["Bento"],
    description: "xv6 file system",
    license: "GPL",
}

/// The loaded module.
pub struct Xv6Module;

impl kernel::Module for Xv6Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // Nothing to register before the framework can take a file system.
        Err(EOPNOTSUPP)
    }
}
