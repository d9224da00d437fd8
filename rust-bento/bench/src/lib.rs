// SPDX-License-Identifier: GPL-2.0

//! Measurements: what programs feel while a mounted file system's code is replaced, how fast file systems are beside each
//! other ([`speed`]), and how many instructions operations take ([`counts`]).
//!
//! For the first, [`load`] works in the guest on the mount and replaces its code again and again; it only writes
//! down what happened and when. On the host [`report`] works out the rest.

pub mod counts;
pub mod load;
pub mod plot;
pub mod prepare;
pub mod record;
pub mod report;
pub mod speed;
