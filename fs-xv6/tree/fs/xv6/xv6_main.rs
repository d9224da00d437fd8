// SPDX-License-Identifier: GPL-2.0

//! The xv6 file system as a kernel module.

use kernel::{
    bento::Registration,
    prelude::*, //
};

#[path = "xv6.rs"]
pub mod xv6;

module! {
    type: Xv6Module,
    name: "xv6",
    authors: ["Bento"],
    description: "xv6 file system",
    license: "GPL",
    alias: ["fs-xv6"],
}

/// The loaded module: xv6 is registered while it lives.
pub struct Xv6Module {
    _registration: Registration,
}

impl kernel::Module for Xv6Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _registration: Registration::new::<xv6::Xv6>(module)?,
        })
    }
}
