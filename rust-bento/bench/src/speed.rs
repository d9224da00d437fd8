// SPDX-License-Identifier: GPL-2.0

//! How fast file systems are, beside each other on one disk.
//!
//! In the guest [`run`] takes the [`system`]s in turn through the visits of a [`plan`]; a visit is a new volume,
//! mounted, and the rows of the table that are measured on it. What a row does is in [`work`]. It only
//! writes down [`sample`]s, a file for each visit, so that a run that was interrupted goes on where it stopped. On the host
//! [`report`] works out the rest.

pub mod cli;
pub mod command;
pub mod counters;
pub mod environment;
pub mod load;
pub mod plan;
pub mod random;
pub mod report;
pub mod run;
pub mod sample;
pub mod statistics;
pub mod system;
pub mod visit;
pub mod volume;
pub mod work;
