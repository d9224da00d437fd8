// SPDX-License-Identifier: GPL-2.0

//! What programs feel while a mounted file system's code is replaced.
//!
//! In the guest [`load`] works on the mount and replaces its code again and again; it only writes
//! down what happened and when. On the host [`report`] works out the rest.

pub mod load;
pub mod plot;
pub mod prepare;
pub mod record;
pub mod report;
