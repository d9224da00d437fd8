// SPDX-License-Identifier: GPL-2.0

//! `/sys/fs/bento`: implementations and mounts.

use crate::{
    mountinfo,
    system::System, //
};
use serde::Serialize;
use std::{
    fs, io,
    path::{
        Path,
        PathBuf, //
    },
};

/// A registered implementation.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Implementation {
    /// Its name, the one that `impl=` takes.
    pub name: String,
    /// What `mount -t` calls its format.
    pub format: String,
    /// Its version.
    pub version: u32,
    /// The first and the last version of the state that it reads.
    pub state_reads: (u32, u32),
    /// The version of the state that it writes.
    pub state_writes: u32,
    /// How many mounts it serves.
    pub users: u64,
}

/// A mounted file system.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Mount {
    /// Its directory in `/sys/fs/bento/mounts`: the name of its device.
    pub id: String,
    /// Where it is mounted, as far as this process can reach it.
    pub mount_points: Vec<PathBuf>,
    /// What serves it.
    pub implementation: String,
    /// The version of that.
    pub version: u32,
    /// `serving`, `upgrading`, `readonly`, `frozen` or `shutdown`.
    pub state: String,
    /// Upgrades that succeeded.
    pub upgrades: u64,
    /// Upgrades that were refused or failed.
    pub refusals: u64,
    /// Of the last attempt: the errno, 0 if it succeeded.
    pub last_error: i32,
    /// Of the last upgrade, if there was one.
    pub last: Option<Times>,
}

/// The times of an upgrade, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
pub struct Times {
    /// From closing the gate to opening it.
    pub pause_ns: u64,
    /// Building the successor while the predecessor serves.
    pub stage_ns: u64,
    /// Waiting for those inside to leave.
    pub drain_ns: u64,
    /// Handing the state over.
    pub transfer_ns: u64,
    /// Putting the successor in place.
    pub switch_ns: u64,
    /// The longest that an operation waited at the gate.
    pub longest_wait_ns: u64,
    /// How often the gate was opened again.
    pub retries: u32,
}

/// A file of one value, without the newline at its end.
fn text(dir: &Path, name: &str) -> io::Result<String> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end_matches('\n').to_owned()),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        )),
    }
}

fn wrong(dir: &Path, name: &str, value: &str) -> io::Error {
    let path = dir.join(name);
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{}: `{value}` is not understood", path.display()),
    )
}

fn number<T: std::str::FromStr>(dir: &Path, name: &str) -> io::Result<T> {
    let value = text(dir, name)?;
    value.parse().map_err(|_| wrong(dir, name, &value))
}

/// `3`, or `1-3`
fn range(dir: &Path, name: &str) -> io::Result<(u32, u32)> {
    let value = text(dir, name)?;
    let (first, last) = value.split_once('-').unwrap_or((&value, &value));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => Ok((first, last)),
        _ => Err(wrong(dir, name, &value)),
    }
}

/// Names in a directory, sorted; none if it is not there.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(io::Error::new(
                error.kind(),
                format!("{}: {error}", dir.display()),
            ))
        }
    }
    names.sort();
    Ok(names)
}

/// Reads each entry of a directory. What went away meanwhile is left out.
fn each<T>(dir: &Path, read: impl Fn(&Path, String) -> io::Result<T>) -> io::Result<Vec<T>> {
    let mut found = Vec::new();
    for name in names(dir)? {
        let path = dir.join(&name);
        match read(&path, name) {
            Ok(entry) => found.push(entry),
            Err(_) if !path.exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Whether the running kernel has Bento.
pub fn present(system: &System) -> bool {
    system.bento().is_dir()
}

/// All implementations, by name.
pub fn implementations(system: &System) -> io::Result<Vec<Implementation>> {
    each(&system.bento().join("implementations"), |dir, name| {
        Ok(Implementation {
            name,
            format: text(dir, "format")?,
            version: number(dir, "version")?,
            state_reads: range(dir, "state_reads")?,
            state_writes: number(dir, "state_writes")?,
            users: number(dir, "users")?,
        })
    })
}

/// All mounts, by name.
pub fn mounts(system: &System) -> io::Result<Vec<Mount>> {
    let reachable = mountinfo::read(system).unwrap_or_default();
    each(&system.bento().join("mounts"), |dir, id| {
        mount(system, &reachable, dir, id)
    })
}

fn mount(
    system: &System,
    reachable: &[mountinfo::Entry],
    dir: &Path,
    id: String,
) -> io::Result<Mount> {
    let upgrades = number(dir, "upgrades")?;
    Ok(Mount {
        mount_points: reachable
            .iter()
            .filter(|entry| entry.id(system).as_deref() == Some(&id))
            .map(|entry| entry.point.clone())
            .collect(),
        implementation: text(dir, "implementation")?,
        version: number(dir, "version")?,
        state: text(dir, "state")?,
        upgrades,
        refusals: number(dir, "refusals")?,
        last_error: number(dir, "last_error")?,
        last: if upgrades == 0 {
            None
        } else {
            Some(times(dir)?)
        },
        id,
    })
}

/// The times of the last upgrade.
fn times(dir: &Path) -> io::Result<Times> {
    Ok(Times {
        pause_ns: number(dir, "last_pause_ns")?,
        stage_ns: number(dir, "last_stage_ns")?,
        drain_ns: number(dir, "last_drain_ns")?,
        transfer_ns: number(dir, "last_transfer_ns")?,
        switch_ns: number(dir, "last_switch_ns")?,
        longest_wait_ns: number(dir, "last_longest_wait_ns")?,
        retries: number(dir, "last_retries")?,
    })
}
