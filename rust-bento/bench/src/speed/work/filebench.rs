// SPDX-License-Identifier: GPL-2.0

//! Filebench's personalities varmail, fileserver and webserver.
//!
//! Numbers and order of operations are those of `workloads/*.f` of Filebench 1.4.9; as there, a file's size and an append are
//! gamma-distributed (shape 1.5) and evenly distributed, a file is taken at random by one thread at a time, and the figure is operations
//! in a second, each line of the personality counted as one. Different: folders have exactly the mean width, where
//! Filebench draws it; a thread that finds no file goes on with its next operation, where Filebench's waits. A plan may take
//! fewer files, and the report says so.

use super::{
    super::{
        load::{
            on_threads,
            Until, //
        },
        random::Random,
        sample::{
            Row,
            Unit, //
        },
        visit::{
            Ends,
            Visit, //
        },
    },
    fileset::{
        write_whole,
        Entry,
        Fileset,
        Which, //
    },
};
use std::{
    fs::{
        self,
        File,
        OpenOptions, //
    },
    io::{
        self,
        Read,
        Seek,
        SeekFrom,
        Write, //
    },
    path::Path,
};
use Step::*;

/// An operation on the thread's open file, or one that opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Delete,
    Create,
    Open,
    /// Of random size.
    Append,
    WriteWhole,
    ReadWhole,
    Fsync,
    Close,
    Stat,
    /// To the log that all threads share.
    AppendLog,
}

/// A personality.
#[derive(Debug)]
pub struct Personality {
    pub name: &'static str,
    pub files: u64,
    /// Files in a folder.
    pub width: u64,
    /// Of how many in a hundred files exist at the start.
    pub existing: u64,
    /// Mean size of a file, and greatest size of an append, in bytes.
    pub size: u64,
    pub append: u64,
    pub threads: u64,
    /// What each thread does again and again.
    pub steps: &'static [Step],
}

/// Bytes that are read or written at a time, at most.
const IO_SIZE: usize = 1 << 20;

pub const VARMAIL: Personality = Personality {
    name: "varmail",
    files: 1000,
    width: 1_000_000,
    existing: 80,
    size: 16 << 10,
    append: 16 << 10,
    threads: 16,
    steps: &[
        Delete, Create, Append, Fsync, Close, Open, ReadWhole, Append, Fsync, Close, Open,
        ReadWhole, Close,
    ],
};

pub const FILESERVER: Personality = Personality {
    name: "fileserver",
    files: 10_000,
    width: 20,
    existing: 80,
    size: 128 << 10,
    append: 16 << 10,
    threads: 50,
    steps: &[
        Create, WriteWhole, Close, Open, Append, Close, Open, ReadWhole, Close, Delete, Stat,
    ],
};

pub const WEBSERVER: Personality = Personality {
    name: "webserver",
    files: 1000,
    width: 20,
    existing: 100,
    size: 16 << 10,
    append: 16 << 10,
    threads: 100,
    steps: &[
        Open, ReadWhole, Close, Open, ReadWhole, Close, Open, ReadWhole, Close, Open, ReadWhole,
        Close, Open, ReadWhole, Close, Open, ReadWhole, Close, Open, ReadWhole, Close, Open,
        ReadWhole, Close, Open, ReadWhole, Close, Open, ReadWhole, Close, AppendLog,
    ],
};

/// A thread of one.
struct Thread<'a> {
    personality: &'a Personality,
    set: &'a Fileset,
    log: &'a File,
    random: Random,
    buffer: Vec<u8>,
    open: Option<(File, Entry)>,
}

impl Thread<'_> {
    /// Whether there was a file to do it with.
    fn step(&mut self, step: Step) -> io::Result<bool> {
        match step {
            Delete => self.with_entry(Which::Existing, Which::Absent, |path| fs::remove_file(path)),
            Stat => self.with_entry(Which::Existing, Which::Existing, |path| {
                fs::metadata(path).map(drop)
            }),
            Create => self.open(Which::Absent, |path| {
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(path)
            }),
            Open => self.open(Which::Existing, |path| {
                OpenOptions::new().read(true).write(true).open(path)
            }),
            Close => Ok(self
                .open
                .take()
                .map(|(_, entry)| self.set.put(Which::Existing, entry))
                .is_some()),
            AppendLog => {
                let size = self.random.below(self.personality.append) as usize;
                let mut log = self.log;
                log.write_all(&self.buffer[..size])?;
                Ok(true)
            }
            Append | WriteWhole | ReadWhole | Fsync => self.on_open(step),
        }
    }

    fn with_entry(
        &mut self,
        from: Which,
        to: Which,
        call: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<bool> {
        let Some(entry) = self.set.take(from, &mut self.random) else {
            return Ok(false);
        };
        call(&entry.path)?;
        self.set.put(to, entry);
        Ok(true)
    }

    fn open(
        &mut self,
        from: Which,
        call: impl FnOnce(&Path) -> io::Result<File>,
    ) -> io::Result<bool> {
        let Some(entry) = self.set.take(from, &mut self.random) else {
            return Ok(false);
        };
        self.open = Some((call(&entry.path)?, entry));
        Ok(true)
    }

    fn on_open(&mut self, step: Step) -> io::Result<bool> {
        let Some((file, entry)) = &mut self.open else {
            return Ok(false);
        };
        match step {
            WriteWhole => write_whole(file, entry.size, &self.buffer)?,
            Append => {
                let size = self.random.below(self.personality.append) as usize;
                file.seek(SeekFrom::End(0))?;
                file.write_all(&self.buffer[..size])?;
            }
            ReadWhole => {
                file.seek(SeekFrom::Start(0))?;
                while file.read(&mut self.buffer)? > 0 {}
            }
            _ => file.sync_all()?,
        }
        Ok(true)
    }
}

/// Measures one.
pub fn run(visit: &mut Visit<'_>, personality: &Personality) -> io::Result<()> {
    let dir = visit.folder(personality.name)?;
    let window = visit.plan.personality;
    let files = personality.files.min(visit.plan.set);
    let set = Fileset::new(
        &dir.join("set"),
        (files, personality.width, personality.existing),
        personality.size,
    )?;
    let log = OpenOptions::new()
        .append(true)
        .create_new(true)
        .open(dir.join("log"))?;
    let row = Row::new("filebench", personality.name, Unit::Operations);
    visit.measure(row, Ends::Done, |_| {
        on_threads(personality.threads, |number| {
            let mut thread = Thread {
                personality,
                set: &set,
                log: &log,
                random: Random::new(number),
                // Not filled: threads would be measured at that, for more than they ever use
                buffer: vec![0; IO_SIZE],
                open: None,
            };
            let (mut until, mut done) = (Until::new(window, 1), 0);
            for &step in personality.steps.iter().cycle() {
                if until.over() {
                    break;
                }
                done += u64::from(thread.step(step)?);
            }
            Ok(done)
        })
    })?;
    Ok(())
}
