// SPDX-License-Identifier: GPL-2.0

//! Reads and writes of one file: sequential and random, in small and large pieces, through the page cache, past it, and
//! mapped.

use super::super::{
    random::Random,
    sample::{
        Row,
        Unit, //
    },
};
use rustix::fs::OFlags;
use std::{
    fs::{
        File,
        OpenOptions, //
    },
    io::{
        self,
        Write, //
    },
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

pub mod read;
pub mod write;

/// What O_DIRECT asks of addresses, on any disk that is in use.
const ALIGNMENT: usize = 4096;

/// In which order pieces come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Sequential,
    Random,
}

impl Order {
    const BOTH: [Order; 2] = [Order::Sequential, Order::Random];

    fn name(self) -> &'static str {
        match self {
            Order::Sequential => "sequential",
            Order::Random => "random",
        }
    }

    /// Where the pieces of a file begin, each once.
    fn offsets(self, file: u64, block: u64, seed: u64) -> Vec<u64> {
        let mut offsets: Vec<u64> = (0..file / block).map(|n| n * block).collect();
        if self == Order::Random {
            Random::new(seed).shuffle(&mut offsets);
        }
        offsets
    }
}

/// `4 KiB`
fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mib => format!("{mib} MiB"),
    }
}

fn row(group: &str, order: Order, block: u64, way: &str) -> Row {
    let name = format!("{group} {} {} {way}", order.name(), size(block));
    Row::new(group, name, Unit::Bytes)
}

/// A buffer that O_DIRECT accepts, with bytes that do not compress to nothing.
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    fn new(len: u64) -> Self {
        let len = len as usize;
        let mut random = Random::new(1);
        let bytes: Vec<u8> = (0..len + ALIGNMENT).map(|_| random.next() as u8).collect();
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start, len }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.start..][..self.len]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }
}

/// A file of so many bytes that are on the disk, and cached.
fn filled(path: &Path, len: u64) -> io::Result<File> {
    let buffer = Buffer::new(1 << 20);
    let mut file = File::create_new(path)?;
    for _ in 0..len >> 20 {
        file.write_all(buffer.get())?;
    }
    file.sync_all()?;
    open(path, false)
}

/// Opens to read and to write; directly means with O_DIRECT, which a file system may refuse.
fn open(path: &Path, directly: bool) -> io::Result<File> {
    let flags = match directly {
        true => OFlags::DIRECT,
        false => OFlags::empty(),
    };
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
}
