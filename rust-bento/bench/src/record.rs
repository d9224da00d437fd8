// SPDX-License-Identifier: GPL-2.0

//! The files of a measurement, as CSV with a head line. All times are in nanoseconds since the
//! measurement began.

use bentoctl::uapi::BentoUpgrade;
use std::{
    fs::{
        self,
        File, //
    },
    io::{
        self,
        BufWriter,
        Write, //
    },
    path::Path,
};

/// An operation of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who did it.
    pub thread: u32,
    /// When it began.
    pub start: u64,
    /// How long it took.
    pub latency: u64,
}

impl Operation {
    /// When it ended.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.latency)
    }
}

/// A stretch of time in which there is one upgrade, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it began.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// When the upgrade was asked for, or would have been.
    pub at: u64,
    /// Whether there was one.
    pub upgrade: bool,
}

/// What the kernel said of an upgrade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upgrade {
    pub stage: u64,
    pub drain: u64,
    pub transfer: u64,
    pub switch: u64,
    pub pause: u64,
    pub longest_wait: u64,
    pub retries: u64,
}

impl From<&BentoUpgrade> for Upgrade {
    fn from(done: &BentoUpgrade) -> Self {
        Self {
            stage: done.stage_ns,
            drain: done.drain_ns,
            transfer: done.transfer_ns,
            switch: done.switch_ns,
            pause: done.pause_ns,
            longest_wait: done.longest_wait_ns,
            retries: done.retries.into(),
        }
    }
}

/// A measurement: one load with so many cached inodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measurement {
    pub operations: Vec<Operation>,
    pub windows: Vec<Window>,
    pub upgrades: Vec<Upgrade>,
}

fn write_rows<const N: usize>(
    path: &Path,
    head: &str,
    rows: impl Iterator<Item = [u64; N]>,
) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(out, "{head}")?;
    for row in rows {
        writeln!(out, "{}", row.map(|cell| cell.to_string()).join(","))?;
    }
    out.flush()
}

fn read_rows<const N: usize>(path: &Path) -> io::Result<Vec<[u64; N]>> {
    let wrong = |line: &str| {
        let text = format!("{}: `{line}` has not {N} numbers", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    fs::read_to_string(path)?
        .lines()
        .skip(1)
        .map(|line| {
            let cells: Option<Vec<u64>> = line.split(',').map(|cell| cell.parse().ok()).collect();
            cells
                .and_then(|cells| cells.try_into().ok())
                .ok_or_else(|| wrong(line))
        })
        .collect()
}

impl Measurement {
    /// Writes the three files into `dir`.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        write_rows(
            &dir.join("operations.csv"),
            "thread,start_ns,latency_ns",
            self.operations
                .iter()
                .map(|op| [op.thread.into(), op.start, op.latency]),
        )?;
        write_rows(
            &dir.join("windows.csv"),
            "start_ns,end_ns,at_ns,upgrade",
            self.windows
                .iter()
                .map(|w| [w.start, w.end, w.at, w.upgrade.into()]),
        )?;
        write_rows(
            &dir.join("upgrades.csv"),
            "stage_ns,drain_ns,transfer_ns,switch_ns,pause_ns,longest_wait_ns,retries",
            self.upgrades.iter().map(|u| {
                [
                    u.stage,
                    u.drain,
                    u.transfer,
                    u.switch,
                    u.pause,
                    u.longest_wait,
                    u.retries,
                ]
            }),
        )
    }

    /// Reads what [`Measurement::write`] has written.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let number = |thread: u64| u32::try_from(thread).unwrap_or(u32::MAX);
        Ok(Self {
            operations: read_rows(&dir.join("operations.csv"))?
                .into_iter()
                .map(|[thread, start, latency]| Operation {
                    thread: number(thread),
                    start,
                    latency,
                })
                .collect(),
            windows: read_rows(&dir.join("windows.csv"))?
                .into_iter()
                .map(|[start, end, at, upgrade]| Window {
                    start,
                    end,
                    at,
                    upgrade: upgrade != 0,
                })
                .collect(),
            upgrades: read_rows(&dir.join("upgrades.csv"))?
                .into_iter()
                .map(
                    |[stage, drain, transfer, switch, pause, longest_wait, retries]| Upgrade {
                        stage,
                        drain,
                        transfer,
                        switch,
                        pause,
                        longest_wait,
                        retries,
                    },
                )
                .collect(),
        })
    }
}
