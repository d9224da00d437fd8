// SPDX-License-Identifier: GPL-2.0

//! A visit to a system: a new volume, and the rows that are measured on it.

use super::{
    counters::Counters,
    plan::Plan,
    sample::{
        Row,
        Sample, //
    },
    system::{
        Size,
        System, //
    },
    volume::{
        drop_caches,
        Volume, //
    },
};
use std::{
    io,
    path::{
        Path,
        PathBuf, //
    },
    thread,
    time::{
        Duration,
        Instant, //
    },
};

/// After caches were dropped, for what that starts in the background: a server of FUSE is told of each inode.
const QUIET: Duration = Duration::from_millis(20);

/// Which time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Until the work is done.
    Done,
    /// Until all of it is on the disk: whoever puts work off does not win by that.
    Settled,
}

/// A visit.
pub struct Visit<'a> {
    pub system: System,
    pub plan: &'a Plan,
    pub disk: &'a Path,
    /// Where volumes are mounted.
    pub dir: &'a Path,
    /// The archives that are worked with.
    pub input: &'a Path,
    pub round: u64,
    pub boot: u64,
    volume: Option<Volume>,
    samples: Vec<Sample>,
}

impl<'a> Visit<'a> {
    pub fn new(
        plan: &'a Plan,
        [disk, dir, input]: [&'a Path; 3],
        (system, round, boot): (System, u64, u64),
    ) -> Self {
        Self {
            system,
            plan,
            disk,
            dir,
            input,
            round,
            boot,
            volume: None,
            samples: Vec::new(),
        }
    }

    /// Makes a volume, and mounts it.
    pub fn start(&mut self, size: Size) -> io::Result<()> {
        if let Some(mkfs) = self.system.mkfs(self.disk, size) {
            mkfs.run()?;
        }
        self.mount()
    }

    pub fn mount(&mut self) -> io::Result<()> {
        self.volume = Some(Volume::mount(self.system, self.disk, self.dir)?);
        Ok(())
    }

    pub fn umount(&mut self) -> io::Result<()> {
        self.volume.take().map_or(Ok(()), Volume::umount)
    }

    /// A new folder on the volume.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::create_dir(&path)?;
        Ok(path)
    }

    /// Returns when nothing is left to be written.
    pub fn settle(&self) -> io::Result<()> {
        self.volume.as_ref().map_or(Ok(()), Volume::settle)
    }

    /// Measures `work`, which returns how much it did.
    ///
    /// What was dirty before is written first. Traffic is counted until all that `work` has done is on the disk, whichever time
    /// counts; processor time is that of the time that counts.
    ///
    /// A failure is a sample too.
    pub fn measure(
        &mut self,
        row: Row,
        ends: Ends,
        work: impl FnOnce(&mut Self) -> io::Result<u64>,
    ) -> io::Result<&mut Sample> {
        self.settle()?;
        let counters = Counters::of(self.system.has_disk().then_some(self.disk));
        let before = counters.read()?;
        let begin = Instant::now();
        let done = work(self);
        let ns = begin.elapsed();
        let settled = match ends {
            Ends::Settled => self.settle().map(|()| begin.elapsed() - ns),
            Ends::Done => Ok(Duration::ZERO),
        };
        let busy = counters.read()?.busy_since(&before);
        self.settle()?;
        let traffic = counters.read()?.traffic_since(&before);
        let result = done.and_then(|count| Ok((count, settled?)));
        let sample = self.note(row);
        sample.ns = ns.as_nanos() as u64;
        sample.cpu_ns = busy;
        sample.read = traffic.read;
        sample.written = traffic.written;
        sample.flushes = traffic.flushes;
        match result {
            Ok((count, settled)) => {
                sample.count = count;
                sample.settle_ns = settled.as_nanos() as u64;
                Ok(sample)
            }
            Err(error) => {
                sample.failure = error.to_string();
                Err(error)
            }
        }
    }

    /// The same with nothing cached. Left out where there is no disk that anything could come back from.
    pub fn measure_cold(
        &mut self,
        row: Row,
        ends: Ends,
        work: impl FnOnce(&mut Self) -> io::Result<u64>,
    ) -> io::Result<Option<&mut Sample>> {
        if !self.system.has_disk() {
            return Ok(None);
        }
        self.settle()?;
        drop_caches()?;
        thread::sleep(QUIET);
        self.measure(row, ends, work).map(Some)
    }

    /// A sample without figures.
    fn note(&mut self, row: Row) -> &mut Sample {
        let place = self.samples.len();
        self.samples.push(Sample {
            round: self.round,
            boot: self.boot,
            system: self.system,
            row,
            count: 0,
            ns: 0,
            settle_ns: 0,
            cpu_ns: 0,
            read: 0,
            written: 0,
            flushes: 0,
            slab: 0,
            failure: String::new(),
        });
        &mut self.samples[place]
    }

    /// Notes that a row could not be measured, with the reason.
    pub fn failed(&mut self, row: Row, why: impl ToString) {
        self.note(row).failure = why.to_string();
    }

    /// What was measured.
    pub fn into_samples(self) -> Vec<Sample> {
        self.samples
    }
}
