// SPDX-License-Identifier: GPL-2.0

//! What `bentoctl` is made of: the kernel's interface for replacing the code of a mounted file
//! system ([`uapi`]), what sysfs says of it ([`sysfs`]), and words for what was refused
//! ([`refusal`]).

pub mod cli;
pub mod man;
pub mod mountinfo;
pub mod refusal;
pub mod show;
pub mod sysfs;
pub mod system;
pub mod uapi;
pub mod upgrade;
pub mod watch;
