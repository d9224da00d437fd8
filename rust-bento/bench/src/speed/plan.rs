// SPDX-License-Identifier: GPL-2.0

//! What is measured, and how much of it: all sizes and times that are ours, in one place. Those of Filebench's
//! personalities are published and stand in [`filebench`](super::work::filebench).

use super::work::Group;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A plan.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: &'static str,
    pub rounds: u64,
    /// Of loops that have no end of their own.
    pub window: Duration,
    /// Files that are made, renamed and removed, over all threads.
    pub files: u64,
    pub threads: &'static [u64],
    /// Files in the large directory.
    pub large: u64,
    /// Size of the file that is read and written, in bytes.
    pub file: u64,
    /// What is read or written at a time, in bytes.
    pub blocks: &'static [u64],
    /// How long a personality of Filebench runs, and how many files it has at most.
    pub personality: Duration,
    pub set: u64,
    /// Of a pass over all files.
    pub patience: Duration,
    /// Transactions of SQLite.
    pub transactions: u64,
    /// Sizes of volumes, in MiB, for mkfs, mount and fsck.
    pub sizes: &'static [u64],
    /// Each visit's name, and what is measured on its volume.
    pub visits: Vec<(&'static str, Vec<Group>)>,
}

impl Plan {
    /// The one that the table in the README comes from.
    pub fn full() -> Self {
        Self {
            name: "full",
            rounds: 3,
            window: Duration::from_secs(2),
            files: 5000,
            threads: &[1, 2, 4, 8],
            large: 50_000,
            file: 256 * MIB,
            blocks: &[4 << 10, 64 << 10, MIB],
            personality: Duration::from_secs(10),
            set: 10_000,
            patience: Duration::from_secs(15),
            transactions: 1000,
            sizes: &[1024, 4096, 10240],
            visits: vec![
                ("metadata", vec![Group::Metadata]),
                ("directory", vec![Group::Directory]),
                ("read", vec![Group::Read]),
                ("write", vec![Group::Write]),
                ("append", vec![Group::Append]),
                ("varmail", vec![Group::Varmail]),
                ("fileserver", vec![Group::Fileserver]),
                ("webserver", vec![Group::Webserver]),
                ("tree", vec![Group::Tree]),
                ("sqlite", vec![Group::Sqlite]),
                ("volumes", vec![Group::Volumes]),
                ("growth-10k", vec![Group::Growth(10_000)]),
                ("growth-100k", vec![Group::Growth(100_000)]),
                ("growth-1m", vec![Group::Growth(1_000_000)]),
            ],
        }
    }

    /// To see that all of it works, and roughly how fast. One volume for nearly everything: making volumes takes longer than
    /// what is measured.
    pub fn quick() -> Self {
        Self {
            name: "quick",
            rounds: 2,
            window: Duration::from_millis(150),
            files: 400,
            threads: &[1, 4],
            large: 2000,
            file: 16 * MIB,
            blocks: &[4 << 10, MIB],
            personality: Duration::from_millis(300),
            set: 500,
            patience: Duration::from_secs(1),
            transactions: 50,
            sizes: &[512, 1024],
            visits: vec![
                (
                    "mounted",
                    vec![
                        Group::Metadata,
                        Group::Directory,
                        Group::Read,
                        Group::Write,
                        Group::Append,
                        Group::Varmail,
                        Group::Fileserver,
                        Group::Webserver,
                        Group::Tree,
                        Group::Sqlite,
                    ],
                ),
                ("volumes", vec![Group::Volumes]),
                ("growth-1k", vec![Group::Growth(1000)]),
                ("growth-4k", vec![Group::Growth(4000)]),
            ],
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        [Self::full(), Self::quick()]
            .into_iter()
            .find(|plan| plan.name == name)
    }

    /// Threads of a row that is measured with several and does not grow.
    pub fn several(&self) -> u64 {
        4
    }
}
