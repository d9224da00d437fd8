// SPDX-License-Identifier: GPL-2.0

//! The xv6 file system as a kernel module.

#[path = "xv6.rs"]
pub mod xv6;

kernel::module_bento_fs! {
    type: xv6::Xv6,
    name: "xv6",
    authors: ["Bento"],
    description: "xv6 file system",
    license: "GPL",
    alias: ["fs-xv6"],
}
