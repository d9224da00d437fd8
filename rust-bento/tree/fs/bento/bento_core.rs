// SPDX-License-Identifier: GPL-2.0

//! Brings up the Bento framework at boot.
//!
//! The framework itself is `kernel::bento`. This is built in, and linked before the file systems
//! that use it.

use kernel::prelude::*;

module! {
    type: BentoCore,
    name: "bento",
    authors: ["Bento"],
    description: "File systems in safe Rust",
    license: "GPL",
}

/// The framework, brought up.
struct BentoCore;

impl kernel::Module for BentoCore {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        kernel::bento::init()?;
        Ok(Self)
    }
}
