// SPDX-License-Identifier: GPL-2.0

//! The gate and the seven steps of an upgrade as a model, which loom explores: it runs a test with
//! all interleavings of its threads, and with all values that the memory model lets a load see.
//!
//! The model follows `rust/kernel/bento/gate.rs` and `upgrade.rs` line by line where threads meet,
//! with the same memory ordering. What is left out:
//! - The count is always in its atomic mode. The switch from and to the mode per CPU is
//!   `percpu_ref`'s own, and the kernel's RCU is not in the model.
//! - A timeout is a thread: it may strike at any moment.
//! - What a file system does inside is to look at what must not change under it: the version, the
//!   text of its module, its instance, and an inode's node.
//!
//! [`Flaws`] leaves out one thing that the protocol needs. The tests show that loom then finds a
//! fault, so that a test that passes says something.

pub mod gate;
pub mod module;
pub mod mount;
pub mod upgrade;

/// What to do wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flaws {
    /// Go on although the gate has not drained.
    pub no_drain: bool,
    /// Store the new version after the gate was opened.
    pub late_store: bool,
    /// Open the gate without the barrier after the store.
    pub no_barrier: bool,
    /// Open the gate and wake nobody.
    pub no_wake: bool,
    /// Put the predecessor's module before the gate is closed.
    pub early_put: bool,
    /// Keep the generation, so that nodes of the predecessor are taken for the successor's.
    pub same_generation: bool,
    /// Go on running the version's text after leaving the gate.
    pub run_after_leaving: bool,
    /// Let go of `s_umount` between the check and the switch.
    pub no_umount_lock: bool,
    /// Do not keep the mount while a file in sysfs is written.
    pub no_active: bool,
    /// Put the mount where the file is written, instead of in a worker.
    pub put_in_store: bool,
}
