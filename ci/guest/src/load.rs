// SPDX-License-Identifier: GPL-2.0

//! A load that can be cut off at any moment: threads create, append, replace, cut and delete files in
//! all the ways that data reaches a disk, and record each promise that they get.

use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::model;
use crate::model::BLOCK;
use crate::pattern;
use crate::pattern::Rng;
use crate::record::Line;
use crate::record::Recorder;
use crate::sys;

/// Files that a thread has at most.
const SLOTS: u64 = 24;
/// The greatest file, in blocks.
const MOST_BLOCKS: u64 = 48;

/// How bytes are brought to the file.
#[derive(Clone, Copy)]
enum Way {
    Buffered,
    Direct,
    Mapped,
    Synchronous,
    Allocated,
}

const WAYS: [Way; 5] = [
    Way::Buffered,
    Way::Direct,
    Way::Mapped,
    Way::Synchronous,
    Way::Allocated,
];

#[derive(Clone, Copy)]
struct Slot {
    version: u64,
    size: u64,
}

struct Worker<'a> {
    root: &'a Path,
    recorder: &'a Recorder,
    thread: u64,
    rng: Rng,
    slots: Vec<Option<Slot>>,
    versions: u64,
    promises: &'a AtomicU64,
}

/// Runs the load in `dir`/run-N for `time`. Gives the number of promises.
pub fn run(dir: &Path, record: &Path, seed: u64, threads: u64, time: Duration) -> Result<u64> {
    let (before, _) = crate::record::read(record)?;
    let run = before + 1;
    let root = root(dir, run);
    for thread in 0..threads {
        fs::create_dir_all(root.join(format!("t{thread}")))?;
    }
    File::open(&root)?.sync_all()?;
    sys::syncfs(&File::open(dir)?)?;
    let recorder = Recorder::start(record, run)?;
    for old in fs::read_dir(dir)? {
        let old = old?;
        if old
            .file_name()
            .to_string_lossy()
            .into_owned()
            .starts_with("run-")
            && old.path() != root
        {
            fs::remove_dir_all(old.path())?;
        }
    }
    let (promises, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let end = Instant::now() + time;
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let mut worker = Worker {
                    root: &root,
                    recorder: &recorder,
                    thread,
                    rng: Rng::new(seed ^ run << 20 ^ thread << 8),
                    slots: vec![None; SLOTS as usize],
                    versions: 0,
                    promises: &promises,
                };
                let stop = &stop;
                scope.spawn(move || -> Result<()> {
                    while Instant::now() < end
                        && worker.recorder.has_room(64)
                        && !stop.load(Ordering::Relaxed)
                    {
                        if let Err(e) = worker.step() {
                            stop.store(true, Ordering::Relaxed);
                            return Err(e);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("a worker does not panic")?;
        }
        Ok(())
    })?;
    Ok(promises.into_inner())
}

pub fn root(dir: &Path, run: u64) -> PathBuf {
    dir.join(format!("run-{run}"))
}

impl Worker<'_> {
    fn name(&self, slot: u64) -> String {
        format!("t{}/{slot}", self.thread)
    }

    /// A new version; odd ones have holes.
    fn new_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    fn step(&mut self) -> Result<()> {
        let at = self.rng.below(SLOTS);
        let name = self.name(at);
        let result = match self.slots[at as usize] {
            None => self.create(at, &name),
            Some(slot) => match self.rng.below(8) {
                0 | 1 => self.append(at, &name, slot),
                2 | 3 => self.replace(at, &name, slot),
                4 => self.cut(at, &name, slot),
                5 => self.reread(&name, slot),
                _ => self.delete(at, &name),
            },
        };
        result.with_context(|| name)
    }

    fn promise(&self, line: Line) -> Result<()> {
        self.promises.fetch_add(1, Ordering::Relaxed);
        self.recorder.write(&line)
    }

    fn whole(&self, name: &str, slot: Slot) -> Result<()> {
        let Slot { version, size } = slot;
        self.promise(Line::Whole {
            name: name.into(),
            version,
            size,
        })
    }

    fn create(&mut self, at: u64, name: &str) -> Result<()> {
        let version = self.new_version();
        let slot = Slot {
            version,
            size: 1 + self.rng.below(MOST_BLOCKS * BLOCK),
        };
        let path = self.root.join(name);
        self.recorder.write(&Line::Create {
            name: name.into(),
            version,
            size: slot.size,
        })?;
        let way = WAYS[self.rng.below(WAYS.len() as u64) as usize];
        let file = self.open(&path, way, true)?;
        write(&file, &path, way, name, version, 0, slot.size)?;
        self.slots[at as usize] = Some(slot);
        if self.settle(&file, way)? {
            self.whole(name, slot)?;
        }
        Ok(())
    }

    fn append(&mut self, at: u64, name: &str, slot: Slot) -> Result<()> {
        let Slot {
            version,
            size: from,
        } = slot;
        if from >= MOST_BLOCKS * BLOCK {
            return Ok(());
        }
        let size = from + 1 + self.rng.below(MOST_BLOCKS * BLOCK - from);
        let path = self.root.join(name);
        self.recorder.write(&Line::Append {
            name: name.into(),
            version,
            size,
        })?;
        let way = WAYS[self.rng.below(WAYS.len() as u64) as usize];
        let file = self.open(&path, way, false)?;
        write(&file, &path, way, name, version, from, size)?;
        let slot = Slot { version, size };
        self.slots[at as usize] = Some(slot);
        if self.settle(&file, way)? {
            self.whole(name, slot)?;
        }
        Ok(())
    }

    /// A new file, renamed over the old one, mostly without any sync.
    fn replace(&mut self, at: u64, name: &str, _old: Slot) -> Result<()> {
        let version = self.new_version();
        let slot = Slot {
            version,
            size: 1 + self.rng.below(MOST_BLOCKS * BLOCK),
        };
        let (path, tmp) = (self.root.join(name), self.root.join(format!("{name}.tmp")));
        let file = self.open(&tmp, Way::Buffered, true)?;
        write(&file, &tmp, Way::Buffered, name, version, 0, slot.size)?;
        let synced = self.rng.below(3) == 0;
        if synced {
            file.sync_all()?;
        }
        self.recorder.write(&Line::Replace {
            name: name.into(),
            version,
            size: slot.size,
        })?;
        fs::rename(&tmp, &path)?;
        self.slots[at as usize] = Some(slot);
        if self.rng.below(2) == 0 {
            self.sync_dir(name)?;
            if synced {
                self.whole(name, slot)?;
            } else {
                file.sync_all()?;
                self.whole(name, slot)?;
            }
        }
        Ok(())
    }

    fn cut(&mut self, at: u64, name: &str, slot: Slot) -> Result<()> {
        let size = self.rng.below(slot.size + 1);
        self.recorder.write(&Line::Cut {
            name: name.into(),
            size,
        })?;
        let file = self.open(&self.root.join(name), Way::Buffered, false)?;
        file.set_len(size)?;
        let slot = Slot { size, ..slot };
        self.slots[at as usize] = Some(slot);
        if self.settle(&file, Way::Buffered)? {
            self.whole(name, slot)?;
        }
        Ok(())
    }

    /// fsync on a file that this descriptor did not write, perhaps after its inode was evicted.
    fn reread(&mut self, name: &str, slot: Slot) -> Result<()> {
        if self.rng.below(8) == 0 {
            sys::drop_caches()?;
        }
        let file = self.open(&self.root.join(name), Way::Buffered, false)?;
        file.sync_all()?;
        self.whole(name, slot)
    }

    fn delete(&mut self, at: u64, name: &str) -> Result<()> {
        self.recorder.write(&Line::Delete { name: name.into() })?;
        fs::remove_file(self.root.join(name))?;
        self.slots[at as usize] = None;
        if self.rng.below(2) == 0 {
            self.sync_dir(name)?;
            self.promise(Line::Gone { name: name.into() })?;
        }
        Ok(())
    }

    fn sync_dir(&self, name: &str) -> io::Result<()> {
        let path = self.root.join(name);
        File::open(path.parent().expect("a name has a directory"))?.sync_all()
    }

    fn open(&self, path: &Path, way: Way, new: bool) -> io::Result<File> {
        let mut flags = libc::O_RDWR;
        if new {
            flags |= libc::O_CREAT | libc::O_TRUNC;
        }
        match way {
            Way::Direct => flags |= libc::O_DIRECT,
            Way::Synchronous => flags |= libc::O_SYNC,
            _ => {}
        }
        sys::open(path, flags, 0o644)
    }

    /// Asks for a promise in one of the ways there are, or for none. Whether there is one.
    fn settle(&mut self, file: &File, way: Way) -> Result<bool> {
        if matches!(way, Way::Synchronous) {
            return Ok(true);
        }
        match self.rng.below(6) {
            0 | 1 => file.sync_all()?,
            2 | 3 => file.sync_data()?,
            4 => sys::syncfs(file)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Writes bytes `from..to` of a version, leaving its holes out.
fn write(
    file: &File,
    path: &Path,
    way: Way,
    name: &str,
    version: u64,
    from: u64,
    to: u64,
) -> Result<()> {
    let key = pattern::key(name, version);
    let mut map = None;
    match way {
        Way::Mapped => {
            file.set_len(to)?;
            map = Some(sys::Map::shared(file, to as usize)?);
        }
        Way::Allocated => sys::fallocate(file, libc::FALLOC_FL_KEEP_SIZE, from, to - from)?,
        _ => {}
    }
    // O_DIRECT takes whole sectors; what is left over goes through the page cache.
    let buffered = match way {
        Way::Direct => Some(sys::open(path, libc::O_WRONLY, 0)?),
        _ => None,
    };
    let mut at = from;
    while at < to {
        let block = at / BLOCK;
        let end = ((block + 1) * BLOCK).min(to);
        let len = (end - at) as usize;
        if model::is_hole(name, version, block) {
            at = end;
            continue;
        }
        let data = pattern::bytes(key, at, len);
        match (&mut map, &buffered) {
            (Some(map), _) => map.write(at as usize, &data),
            (None, Some(buffered)) => {
                let sectors = len / 512 * 512;
                if at % 512 == 0 && sectors > 0 {
                    let mut aligned = sys::Aligned::new(sectors);
                    aligned.copy_from_slice(&data[..sectors]);
                    file.write_all_at(&aligned, at)?;
                    buffered.write_all_at(&data[sectors..], at + sectors as u64)?;
                } else {
                    buffered.write_all_at(&data, at)?;
                }
            }
            (None, None) => file.write_all_at(&data, at)?,
        }
        at = end;
    }
    if model::is_hole(name, version, (to - 1) / BLOCK) {
        file.set_len(to)?;
        if matches!(way, Way::Synchronous) {
            file.sync_data()?;
        }
    }
    Ok(())
}
