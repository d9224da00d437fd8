// SPDX-License-Identifier: GPL-2.0

//! Filebench's fileset: files with sizes from a gamma distribution in a tree of folders, some of which exist, and from which
//! threads take files at random.

use super::super::random::Random;
use std::{
    fs::{
        self,
        File, //
    },
    io::{
        self,
        Write, //
    },
    path::{
        Path,
        PathBuf, //
    },
    sync::{
        Mutex,
        PoisonError, //
    },
};

/// The shape of its gamma distributions, by default.
const SHAPE: f64 = 1.5;

/// A file of the set.
#[derive(Debug)]
pub struct Entry {
    pub path: PathBuf,
    /// In bytes, when it is written whole.
    pub size: u64,
}

/// What a thread takes an entry from. While it has the entry, no other thread gets it.
#[derive(Debug, Default)]
struct Pools {
    existing: Vec<Entry>,
    absent: Vec<Entry>,
}

/// The set.
#[derive(Debug)]
pub struct Fileset(Mutex<Pools>);

/// Which kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Existing,
    Absent,
}

/// The folder of file `number`: as many files in each as `width`, and folders of folders likewise.
fn folder(root: &Path, number: u64, files: u64, width: u64) -> PathBuf {
    let mut path = root.to_path_buf();
    let mut groups = files.div_ceil(width);
    let mut index = number / width;
    let mut parts = Vec::new();
    while groups > 1 {
        parts.push(format!("{:08}", index % width));
        index /= width;
        groups = groups.div_ceil(width);
    }
    path.extend(parts.iter().rev());
    path
}

impl Fileset {
    /// Makes the folders, and so many percent of the files.
    pub fn new(
        root: &Path,
        (files, width, existing): (u64, u64, u64),
        mean_size: u64,
    ) -> io::Result<Self> {
        let mut random = Random::new(files);
        let mut pools = Pools::default();
        let data = vec![0x5a; 1 << 20];
        for number in 0..files {
            let folder = folder(root, number, files, width);
            if number % width == 0 {
                fs::create_dir_all(&folder)?;
            }
            let entry = Entry {
                path: folder.join(format!("{number:08}")),
                size: random.gamma(SHAPE, mean_size as f64) as u64,
            };
            if random.below(100) < existing {
                write_whole(&mut File::create_new(&entry.path)?, entry.size, &data)?;
                pools.existing.push(entry);
            } else {
                pools.absent.push(entry);
            }
        }
        Ok(Self(Mutex::new(pools)))
    }

    fn with<T>(&self, which: Which, work: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(match which {
            Which::Existing => &mut pools.existing,
            Which::Absent => &mut pools.absent,
        })
    }

    /// Takes one at random, if there is one.
    pub fn take(&self, which: Which, random: &mut Random) -> Option<Entry> {
        self.with(which, |pool| {
            let place = random.below(pool.len() as u64) as usize;
            (!pool.is_empty()).then(|| pool.swap_remove(place))
        })
    }

    /// Gives one back, or as the other kind if it was made or removed.
    pub fn put(&self, which: Which, entry: Entry) {
        self.with(which, |pool| pool.push(entry));
    }
}

/// Writes so many bytes, with as many at a time as `data` has.
pub fn write_whole(file: &mut File, size: u64, data: &[u8]) -> io::Result<()> {
    let mut left = size as usize;
    while left > 0 {
        let piece = left.min(data.len());
        file.write_all(&data[..piece])?;
        left -= piece;
    }
    Ok(())
}
