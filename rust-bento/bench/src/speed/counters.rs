// SPDX-License-Identifier: GPL-2.0

//! What the kernel counts beside time: the processors' idleness, the disk's traffic, memory.

use std::{
    fs,
    io,
    path::{
        Path,
        PathBuf, //
    },
    time::Instant, //
};

/// The unit of `/proc/stat`, in nanoseconds.
const TICK: u64 = 10_000_000;
/// The unit of the block layer's statistics, whatever the disk's is.
const SECTOR: u64 = 512;

/// A disk's traffic so far, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub read: u64,
    pub written: u64,
    pub flushes: u64,
}

impl Traffic {
    /// From `/sys/block/*/stat` (Documentation/block/stat.rst).
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Option<Vec<u64>> = text.split_whitespace().map(|f| f.parse().ok()).collect();
        let fields = fields?;
        Some(Self {
            read: fields.get(2)? * SECTOR,
            written: fields.get(6)? * SECTOR,
            flushes: *fields.get(15)?,
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            read: self.read.saturating_sub(before.read),
            written: self.written.saturating_sub(before.written),
            flushes: self.flushes.saturating_sub(before.flushes),
        }
    }
}

/// Time that the processors spent idle or waiting for a disk, in nanoseconds, all together, and their number: from
/// `/proc/stat`. Idle time is measured exactly even where busy time is sampled by the tick.
pub fn idle(text: &str) -> Option<(u64, u64)> {
    let total = text.lines().find(|line| line.starts_with("cpu "))?;
    let fields: Vec<u64> = total
        .split_whitespace()
        .skip(1)
        .map_while(|f| f.parse().ok())
        .collect();
    let one = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    let number = text.lines().filter(one).count() as u64;
    Some(((fields.get(3)? + fields.get(4)?) * TICK, number.max(1)))
}

/// A field of `/proc/meminfo`, in bytes.
pub fn memory(text: &str, field: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Memory of the slab allocators, in bytes: inodes, dentries, and what hangs on them.
pub fn slab() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    memory(&text, "Slab").ok_or_else(|| io::Error::other("/proc/meminfo has no Slab"))
}

/// The counters at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    idle: u64,
    processors: u64,
    traffic: Traffic,
}

/// Where to read them.
#[derive(Clone, Debug)]
pub struct Counters {
    disk: Option<PathBuf>,
}

impl Counters {
    /// Of a disk such as `/dev/nvme0n1`. Without one there is no traffic.
    pub fn of(disk: Option<&Path>) -> Self {
        let stat = |disk: &Path| {
            let name = disk.file_name().unwrap_or_default();
            Path::new("/sys/class/block").join(name).join("stat")
        };
        Self {
            disk: disk.map(stat),
        }
    }

    pub fn read(&self) -> io::Result<Reading> {
        let wrong = || io::Error::other("the kernel's statistics cannot be read");
        let (idle, processors) = idle(&fs::read_to_string("/proc/stat")?).ok_or_else(wrong)?;
        let traffic = match &self.disk {
            Some(stat) => Traffic::parse(&fs::read_to_string(stat)?).ok_or_else(wrong)?,
            None => Traffic::default(),
        };
        Ok(Reading {
            at: Instant::now(),
            idle,
            processors,
            traffic,
        })
    }
}

impl Reading {
    /// Processor time from then to now, of all that ran, in nanoseconds.
    pub fn busy_since(&self, before: &Self) -> u64 {
        let wall = self.at.duration_since(before.at).as_nanos() as u64;
        (wall * self.processors).saturating_sub(self.idle.saturating_sub(before.idle))
    }

    pub fn traffic_since(&self, before: &Self) -> Traffic {
        self.traffic.since(&before.traffic)
    }
}
