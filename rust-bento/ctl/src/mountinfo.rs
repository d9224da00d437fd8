// SPDX-License-Identifier: GPL-2.0

//! The mounts that this process can reach, from `/proc/self/mountinfo`.

use crate::system::System;
use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::PathBuf, //
};

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the device, as `259:0`.
    pub number: String,
    /// Where it is mounted.
    pub point: PathBuf,
    /// What was mounted, mostly a path.
    pub source: PathBuf,
    /// What its root is within the file system, `/` unless it is a bind mount.
    pub root: PathBuf,
}

/// All mounts.
pub fn read(system: &System) -> io::Result<Vec<Entry>> {
    let text = std::fs::read(system.mountinfo())?;
    Ok(text.split(|&b| b == b'\n').filter_map(parse).collect())
}

fn parse(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|&b| b == b' ');
    let number = String::from_utf8(fields.by_ref().nth(2)?.to_vec()).ok()?;
    let root = path(fields.next()?);
    let point = path(fields.next()?);
    fields.find(|&field| field == b"-")?;
    let source = path(fields.nth(1)?);
    Some(Entry {
        number,
        point,
        source,
        root,
    })
}

/// Space, tab, newline and backslash come as `\` and three octal digits.
fn path(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let digits = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) if first == b'\\' => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => out.push(first),
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

impl Entry {
    /// What `/sys/fs/bento/mounts` may call it.
    pub fn id(&self, system: &System) -> Option<String> {
        system
            .block_device(&self.number)
            .or_else(|| Some(self.source.file_name()?.to_str()?.to_owned()))
    }
}
