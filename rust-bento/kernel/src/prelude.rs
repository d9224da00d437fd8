// SPDX-License-Identifier: GPL-2.0

//! What every kernel source file imports.

pub use core::mem::{
    align_of,
    align_of_val,
    size_of,
    size_of_val, //
};

pub use zerocopy::{
    FromBytes,
    IntoBytes, //
};

pub use crate::{
    alloc::{
        flags::*,
        KBox,
        KVVec,
        KVec, //
    },
    error::{
        code::*,
        Error,
        Result, //
    },
    fmt,
    pr_debug,
    pr_err,
    pr_info,
    pr_notice,
    pr_warn,
    static_assert, //
};
