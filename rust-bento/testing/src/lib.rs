// SPDX-License-Identifier: GPL-2.0

//! What programs rely on in a file system, as one suite of tests over a [`System`].
//!
//! The same tests run against a directory of a mounted file system ([`live::Live`], the program
//! `bento-suite`) and against a mount in user space ([`mounted::Mounted`]).
//! Each test gets an empty directory of its own. It panics where the system errs.

pub mod hostile;
pub mod live;
pub mod mounted;
pub mod suite;
pub mod system;
pub mod workload;

/// Whether tests run in their long form: `BENTO_LONG=1`.
pub fn is_long() -> bool {
    std::env::var_os("BENTO_LONG").is_some_and(|long| long == "1")
}

pub use suite::{
    run,
    tests,
    Outcome,
    Test, //
};
pub use system::*;
