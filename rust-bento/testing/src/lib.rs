// SPDX-License-Identifier: GPL-2.0

//! What programs rely on in a file system, as one suite of tests over a [`System`].
//!
//! The same tests run against a directory of a mounted file system ([`live::Live`], the program
//! `bento-suite`) and against a mount in user space ([`mounted::Mounted`]).
//! Each test gets an empty directory of its own. It panics where the system errs.
//!
//! [`workload`] has what tests of random operations and of crashes need: operations as data, a
//! model, and an explorer of what crashes can leave.
//!
//! # What is not covered
//!
//! - Interleavings of threads: the gate and the steps of an upgrade are a model that loom explores
//!   (`rust-bento/model`). The locks of the core in user space meet threads only by chance, in the
//!   tests of mounts and of the FUSE server. Neither miri nor ThreadSanitizer is run.
//! - The kernel's page cache, write-back and jbd2: the core in user space has none of them, and its
//!   own journal. Their crashes are explored in the virtual machine.
//! - In the model of crashes: devices that lose what they said was flushed, blocks that can no
//!   longer be read, and times.

pub mod hostile;
pub mod live;
pub mod mounted;
pub mod runner;
pub mod suite;
pub mod system;
pub mod workload;

/// Whether tests run in their long form: `BENTO_LONG=1`.
pub fn is_long() -> bool {
    std::env::var_os("BENTO_LONG").is_some_and(|long| long == "1")
}

/// How many of a test's cases are tried: in the long form ten times as many.
pub fn cases(short: u64) -> u64 {
    match is_long() {
        true => 10 * short,
        false => short,
    }
}

pub use suite::{
    run,
    tests,
    Outcome,
    Test, //
};
pub use system::*;
