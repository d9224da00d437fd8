// SPDX-License-Identifier: GPL-2.0

//! The loads, and the upgrades among them.
//!
//! Time is cut into windows of equal length. In every second one there is an upgrade, a quarter
//! into it; the ones between are what they are compared with, in the same run.

use crate::{
    prepare,
    record::{
        Measurement,
        Operation,
        Upgrade,
        Window, //
    },
};
use bentoctl::uapi::{
    self,
    BentoUpgrade, //
};
use clap::ValueEnum;
use rustix::mm::{
    mmap,
    munmap,
    MapFlags,
    ProtFlags, //
};
use std::{
    fs::{
        self,
        File,
        OpenOptions, //
    },
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
    thread,
    time::{
        Duration,
        Instant, //
    },
};

/// What is written at a time, in bytes.
const WRITE: usize = 64 << 10;
/// The size of a thread's file.
const FILE: u64 = 1 << 20;
/// What is read at a time, and how often in one operation of the record.
const READ: usize = 4 << 10;
const READS: usize = 32;
const THREADS: u32 = 10;

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// One thread creates and deletes in the directory of very many files
    Create,
    /// Ten threads write 64 KiB and call fsync
    Write,
    /// The same with cached reads between, one of the threads through a shared mapping
    Mixed,
}

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    /// Inodes that are brought into memory before.
    pub cached: u64,
    pub upgrades: u32,
    pub window: Duration,
    /// What serves in turn. None: no upgrades, which says how even the load is by itself.
    pub between: Option<[String; 2]>,
}

struct Worker<'a> {
    thread: u32,
    epoch: Instant,
    stop: &'a AtomicBool,
    operations: Vec<Operation>,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Worker<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn timed<T>(&mut self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let begin = Instant::now();
        let result = work();
        self.operations.push(Operation {
            thread: self.thread,
            start: nanos(begin.duration_since(self.epoch)),
            latency: nanos(begin.elapsed()),
        });
        result
    }

    fn create(&mut self, root: &Path) -> io::Result<()> {
        let path = prepare::many(root).join("new");
        while !self.stopped() {
            self.timed(|| File::create(&path))?;
            self.timed(|| fs::remove_file(&path))?;
        }
        Ok(())
    }

    fn file(&self, root: &Path) -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(root.join(format!("work-{}", self.thread)))?;
        file.write_all_at(&vec![1; FILE as usize], 0)?;
        file.sync_all()?;
        Ok(file)
    }

    fn write(&mut self, root: &Path, reads: bool) -> io::Result<()> {
        let file = self.file(root)?;
        let bytes = vec![self.thread as u8; WRITE];
        let mut buffer = [0; READ];
        let mut at = 0;
        while !self.stopped() {
            self.timed(|| {
                file.write_all_at(&bytes, at)?;
                file.sync_all()
            })?;
            at = (at + WRITE as u64) % FILE;
            for _ in 0..if reads { 8 } else { 0 } {
                self.timed(|| {
                    (0..READS).try_for_each(|n| file.read_exact_at(&mut buffer, (n * READ) as u64))
                })?;
            }
        }
        Ok(())
    }

    fn map(&mut self, root: &Path) -> io::Result<()> {
        let file = self.file(root)?;
        let (size, protection) = (FILE as usize, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: A new mapping, at an address that the kernel chooses.
        let at = unsafe {
            mmap(
                std::ptr::null_mut(),
                size,
                protection,
                MapFlags::SHARED,
                &file,
                0,
            )
        }?;
        let mut result = Ok(());
        while !self.stopped() && result.is_ok() {
            // Each page is clean again after the fsync, so that the store faults
            result = self.timed(|| {
                for page in (0..size).step_by(READ) {
                    // SAFETY: Within the mapping and the file, which nobody cuts; no reference to
                    // the memory exists.
                    unsafe { at.cast::<u8>().add(page).write_volatile(page as u8) };
                }
                Ok(())
            });
            result = result.and_then(|()| self.timed(|| file.sync_all()));
        }
        // SAFETY: The mapping made above, which is not used any more.
        unsafe { munmap(at, size) }?;
        result
    }

    fn run(mut self, kind: Kind, root: &Path) -> io::Result<Vec<Operation>> {
        match kind {
            Kind::Create => self.create(root),
            Kind::Write => self.write(root, false),
            Kind::Mixed if self.thread == 0 => self.map(root),
            Kind::Mixed => self.write(root, true),
        }?;
        Ok(self.operations)
    }
}

/// How many inodes the kernel has in memory, if it says so.
fn inodes_in_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/fs/inode-nr").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Measures on the mount that `root` is in.
pub fn measure(root: &Path, plan: &Plan) -> io::Result<Measurement> {
    prepare::warm(root, plan.cached)?;
    let measurement = measure_warm(root, plan)?;
    match inodes_in_memory() {
        Some(inodes) if inodes < plan.cached => Err(io::Error::other(format!(
            "{inodes} inodes stayed in memory, not {}",
            plan.cached
        ))),
        _ => Ok(measurement),
    }
}

fn measure_warm(root: &Path, plan: &Plan) -> io::Result<Measurement> {
    let stop = AtomicBool::new(false);
    let epoch = Instant::now();
    let threads = match plan.kind {
        Kind::Create => 1,
        Kind::Write | Kind::Mixed => THREADS,
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let worker = Worker {
                    thread,
                    epoch,
                    stop: &stop,
                    operations: Vec::new(),
                };
                scope.spawn(|| worker.run(plan.kind, root))
            })
            .collect();
        // They make their files first
        thread::sleep(4 * plan.window);
        let result = windows(root, plan, epoch);
        stop.store(true, Ordering::Relaxed);
        let mut measurement = result?;
        for worker in workers {
            let operations = worker
                .join()
                .map_err(|_| io::Error::other("a thread has panicked"))??;
            measurement.operations.extend(operations);
        }
        measurement
            .operations
            .sort_by_key(|op| (op.start, op.thread));
        Ok(measurement)
    })
}

fn windows(root: &Path, plan: &Plan, epoch: Instant) -> io::Result<Measurement> {
    let mount = File::open(root)?;
    let mut measurement = Measurement::default();
    for number in 0..2 * plan.upgrades {
        let start = epoch.elapsed();
        thread::sleep(plan.window / 4);
        let at = epoch.elapsed();
        let upgrade = plan.between.as_ref().filter(|_| number % 2 == 1);
        if let Some(names) = upgrade {
            let name = &names[(number / 2) as usize % 2];
            let mut request = BentoUpgrade::new(name, 0)
                .ok_or_else(|| io::Error::other(format!("`{name}` is no name")))?;
            match uapi::by_ioctl(&mount, &mut request) {
                Ok(()) => measurement.upgrades.push(Upgrade::from(&request)),
                // Held up in every try: the window shows what that cost
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => (),
                Err(error) => return Err(error),
            }
        }
        thread::sleep((start + plan.window).saturating_sub(epoch.elapsed()));
        measurement.windows.push(Window {
            start: nanos(start),
            end: nanos(epoch.elapsed()),
            at: nanos(at),
            upgrade: upgrade.is_some(),
        });
    }
    Ok(measurement)
}
