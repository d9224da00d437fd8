// SPDX-License-Identifier: GPL-2.0

//! The tutorial's file system as a kernel module.

#[path = "tinyfs.rs"]
pub mod tinyfs;

kernel::module_bento_fs! {
    type: tinyfs::TinyFs,
    name: "rust_tinyfs",
    authors: ["Bento"],
    description: "tinyfs, a sample Bento file system",
    license: "GPL",
    alias: ["fs-tinyfs"],
}
