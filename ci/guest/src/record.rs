// SPDX-License-Identifier: GPL-2.0

//! The record of what a load was about to do and what it was promised, kept where a crash of the
//! file system does not reach it: a partition of its own, one 512-byte sector a line.
//!
//! Lines are written with O_DIRECT and never flushed: a flush of ours would hide one that the file
//! system forgot. A line is on the device (as the host sees it) before the next action of its thread.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::sys;

pub const SECTOR: usize = 512;
const MAGIC: [u8; 8] = *b"fstestP1";
const HEADER: usize = 32;
/// So many missing lines in a row end the record: each thread can have one line that was lost.
const GAP: u64 = 64;

/// A line of the record. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The load begins, in the directory `run-<run>`.
    Start,
    /// About to create a file and write it.
    Create {
        name: String,
        version: u64,
        size: u64,
    },
    /// About to append up to `size`.
    Append {
        name: String,
        version: u64,
        size: u64,
    },
    /// About to rename a new file, written but not synced, over this name.
    Replace {
        name: String,
        version: u64,
        size: u64,
    },
    /// About to cut it to `size`.
    Cut { name: String, size: u64 },
    /// About to unlink it.
    Delete { name: String },
    /// Promised by fsync or its like: the file is there, whole, with this size.
    Whole {
        name: String,
        version: u64,
        size: u64,
    },
    /// Promised by an fsync of the directory: the name is gone.
    Gone { name: String },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Start => write!(f, "S"),
            Line::Create {
                name,
                version,
                size,
            } => write!(f, "C {name} {version} {size}"),
            Line::Append {
                name,
                version,
                size,
            } => write!(f, "A {name} {version} {size}"),
            Line::Replace {
                name,
                version,
                size,
            } => write!(f, "R {name} {version} {size}"),
            Line::Cut { name, size } => write!(f, "T {name} {size}"),
            Line::Delete { name } => write!(f, "D {name}"),
            Line::Whole {
                name,
                version,
                size,
            } => write!(f, "W {name} {version} {size}"),
            Line::Gone { name } => write!(f, "G {name}"),
        }
    }
}

impl Line {
    /// The version of the file that it speaks of, if any.
    pub fn version(&self) -> Option<u64> {
        match *self {
            Line::Create { version, .. }
            | Line::Append { version, .. }
            | Line::Replace { version, .. }
            | Line::Whole { version, .. } => Some(version),
            _ => None,
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let (name, number) = (
            || words.get(1).map(|s| s.to_string()).context("no name"),
            |at: usize| -> Result<u64> { Ok(words.get(at).context("no number")?.parse()?) },
        );
        Ok(match words[0] {
            "S" => Line::Start,
            "C" => Line::Create {
                name: name()?,
                version: number(2)?,
                size: number(3)?,
            },
            "A" => Line::Append {
                name: name()?,
                version: number(2)?,
                size: number(3)?,
            },
            "R" => Line::Replace {
                name: name()?,
                version: number(2)?,
                size: number(3)?,
            },
            "T" => Line::Cut {
                name: name()?,
                size: number(2)?,
            },
            "D" => Line::Delete { name: name()? },
            "W" => Line::Whole {
                name: name()?,
                version: number(2)?,
                size: number(3)?,
            },
            "G" => Line::Gone { name: name()? },
            _ => bail!("not a line of a record: {text:?}"),
        })
    }
}

fn sum(data: &[u8]) -> u32 {
    // FNV-1a: enough to see a torn sector.
    data.iter().fold(0x811c_9dc5, |h, b| {
        (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)
    })
}

/// Reads a sector: the run, the line's number and the line; None if it holds no line.
pub fn decode(sector: &[u8]) -> Option<(u64, u64, Line)> {
    if sector.get(..8)? != MAGIC {
        return None;
    }
    let u64_at = |at: usize| Some(u64::from_le_bytes(sector.get(at..at + 8)?.try_into().ok()?));
    let (run, number) = (u64_at(8)?, u64_at(16)?);
    let stored = u32::from_le_bytes(sector.get(24..28)?.try_into().ok()?);
    let len = u32::from_le_bytes(sector.get(28..32)?.try_into().ok()?) as usize;
    let text = sector.get(HEADER..HEADER.checked_add(len)?)?;
    if sum(text) != stored {
        return None;
    }
    let line = Line::parse(std::str::from_utf8(text).ok()?).ok()?;
    Some((run, number, line))
}

fn encode(run: u64, number: u64, line: &Line) -> Result<sys::Aligned> {
    let text = line.to_string();
    ensure!(
        text.len() <= SECTOR - HEADER,
        "a line of a record is too long"
    );
    let mut sector = sys::Aligned::new(SECTOR);
    sector[..8].copy_from_slice(&MAGIC);
    sector[8..16].copy_from_slice(&run.to_le_bytes());
    sector[16..24].copy_from_slice(&number.to_le_bytes());
    sector[24..28].copy_from_slice(&sum(text.as_bytes()).to_le_bytes());
    sector[28..32].copy_from_slice(&(text.len() as u32).to_le_bytes());
    sector[HEADER..HEADER + text.len()].copy_from_slice(text.as_bytes());
    Ok(sector)
}

/// Writes a record. Shared by the threads of a load.
pub struct Recorder {
    device: File,
    run: u64,
    next: AtomicU64,
    sectors: u64,
}

impl Recorder {
    /// Begins run `run`; what was recorded before is void.
    pub fn start(device: &Path, run: u64) -> Result<Self> {
        let device = sys::open(device, libc::O_RDWR | libc::O_DIRECT, 0)
            .with_context(|| format!("{}", device.display()))?;
        let bytes = sys::seek(&device, 0, libc::SEEK_END)?;
        let recorder = Self {
            device,
            run,
            next: AtomicU64::new(0),
            sectors: bytes / SECTOR as u64,
        };
        recorder.write(&Line::Start)?;
        Ok(recorder)
    }

    pub fn write(&self, line: &Line) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        ensure!(number < self.sectors, "the record is full");
        let sector = encode(self.run, number, line)?;
        self.device
            .write_all_at(&sector, number * SECTOR as u64)
            .context("writing the record")
    }

    /// Whether the record has room for `lines` more.
    pub fn has_room(&self, lines: u64) -> bool {
        self.next.load(Ordering::SeqCst) + lines < self.sectors
    }
}

/// The lines of the newest run, in order, and the run's number (0: there is none).
pub fn read(device: &Path) -> Result<(u64, Vec<Line>)> {
    let file = File::open(device).with_context(|| format!("{}", device.display()))?;
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
    let mut sector = [0; SECTOR];
    let (mut newest, mut lines, mut missing) = (0, Vec::new(), 0);
    for at in 0_u64.. {
        if reader.read_exact(&mut sector).is_err() {
            break;
        }
        match decode(&sector) {
            Some((run, 0, Line::Start)) if at == 0 => newest = run,
            Some((run, number, line)) if run == newest && number == at => {
                lines.push(line);
                missing = 0;
            }
            _ if at == 0 => return Ok((0, Vec::new())),
            _ => missing += 1,
        }
        if missing > GAP {
            break;
        }
    }
    Ok((newest, lines))
}
