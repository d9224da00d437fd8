// SPDX-License-Identifier: GPL-2.0

//! Paths that are made before they are measured, and empty files by them.

use super::super::{
    load::{
        on_threads,
        Until, //
    },
    random::Random, //
};
use rustix::fs::{
    self,
    Mode,
    OFlags, //
};
use std::{
    ffi::CString,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::Duration, //
};

/// A path for system calls.
pub fn c_path(path: &Path) -> CString {
    // A path that came from the kernel or is ours has no NUL
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// Paths of files, for each thread those that are its own.
pub struct Names(Vec<Vec<CString>>);

impl Names {
    /// `number` in all; thread n's in folder n of `folders`, which are used in turn. The order is shuffled: names of one
    /// thread do not come as a directory holds them.
    pub fn new(folders: &[&Path], threads: u64, number: u64, tag: &str) -> Self {
        let each = (number / threads).max(1);
        let mut random = Random::new(number);
        let of_thread = |thread: u64| {
            let folder = folders[thread as usize % folders.len()];
            let mut names: Vec<_> = (0..each)
                .map(|n| c_path(&folder.join(format!("{tag}-{thread}-{n:07}"))))
                .collect();
            random.shuffle(&mut names);
            names
        };
        Self((0..threads).map(of_thread).collect())
    }

    /// Does `call` once with each, all threads at the same time. Returns how often.
    pub fn once(&self, call: impl Fn(&CString) -> io::Result<()> + Sync) -> io::Result<u64> {
        on_threads(self.0.len() as u64, |thread| {
            let names = &self.0[thread as usize];
            names.iter().try_for_each(&call)?;
            Ok(names.len() as u64)
        })
    }

    /// The same with a second list of equal form.
    pub fn once_with(
        &self,
        other: &Self,
        call: impl Fn(&CString, &CString) -> io::Result<()> + Sync,
    ) -> io::Result<u64> {
        on_threads(self.0.len() as u64, |thread| {
            let pairs = self.0[thread as usize]
                .iter()
                .zip(&other.0[thread as usize]);
            let number = pairs.len() as u64;
            pairs.into_iter().try_for_each(|(a, b)| call(a, b))?;
            Ok(number)
        })
    }

    /// Does `call` with each, again and again, until the time is over.
    pub fn again(
        &self,
        window: Duration,
        call: impl Fn(&CString) -> io::Result<()> + Sync,
    ) -> io::Result<u64> {
        on_threads(self.0.len() as u64, |thread| {
            let (mut until, mut done) = (Until::new(window, 16), 0);
            for name in self.0[thread as usize].iter().cycle() {
                if until.over() {
                    break;
                }
                call(name)?;
                done += 1;
            }
            Ok(done)
        })
    }
}

/// Makes an empty file, which must not be there.
pub fn create(name: &CString) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    fs::open(name, flags, Mode::from_raw_mode(0o644))?;
    Ok(())
}

pub fn stat(name: &CString) -> io::Result<()> {
    fs::stat(name)?;
    Ok(())
}

/// Opens to read, and closes.
pub fn open(name: &CString) -> io::Result<()> {
    fs::open(name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(())
}

pub fn unlink(name: &CString) -> io::Result<()> {
    Ok(fs::unlink(name)?)
}

pub fn rename(from: &CString, to: &CString) -> io::Result<()> {
    Ok(fs::rename(from, to)?)
}
