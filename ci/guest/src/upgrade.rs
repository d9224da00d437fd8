// SPDX-License-Identifier: GPL-2.0

//! Requests for an upgrade: by the ioctl and by sysfs.

use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::path::PathBuf;

use crate::fs::Small;
use crate::sys;

/// `struct bento_upgrade`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Request {
    pub size: u32,
    pub flags: u32,
    pub name: [u8; 32],
    pub from_name: [u8; 32],
    pub from_version: u32,
    pub to_version: u32,
    pub retries: u32,
    pub pad: u32,
    pub stage_ns: u64,
    pub drain_ns: u64,
    pub transfer_ns: u64,
    pub switch_ns: u64,
    pub pause_ns: u64,
    pub longest_wait_ns: u64,
}

pub const DRY_RUN: u32 = 1;

impl Request {
    pub fn new(name: &str) -> Self {
        let mut request = Self {
            size: size_of::<Self>() as u32,
            flags: 0,
            name: [0; 32],
            from_name: [0; 32],
            from_version: 0,
            to_version: 0,
            retries: 0,
            pad: 0,
            stage_ns: 0,
            drain_ns: 0,
            transfer_ns: 0,
            switch_ns: 0,
            pause_ns: 0,
            longest_wait_ns: 0,
        };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        request
    }

    pub fn from(&self) -> String {
        let end = self.from_name.iter().position(|&b| b == 0).unwrap_or(32);
        String::from_utf8_lossy(&self.from_name[..end]).into_owned()
    }

    /// Asks with a structure of `size` bytes, at `request`.
    pub fn send_sized<T>(file: &File, size: usize, request: &mut T) -> io::Result<()> {
        sys::ioctl(file, sys::ioc(3, 0xbe, 1, size), request).map(drop)
    }

    pub fn send(&mut self, file: &File) -> io::Result<()> {
        Self::send_sized(file, size_of::<Self>(), self)
    }

    /// The same by `bento_upgrade(2)`.
    pub fn send_by_syscall(&mut self, file: &File) -> io::Result<()> {
        const SYS_BENTO_UPGRADE: libc::c_long = 473;
        // SAFETY: The structure is as long as the call says.
        sys::cvt(unsafe {
            libc::syscall(
                SYS_BENTO_UPGRADE,
                file.as_raw_fd(),
                std::ptr::from_mut(self),
                size_of::<Self>(),
            )
        })
        .map(drop)
    }
}

/// Replaces the version of `mount` by the ioctl on its root.
pub fn by_ioctl(mount: &Small, name: &str) -> io::Result<Request> {
    let mut request = Request::new(name);
    request.send(&File::open(&mount.dir)?)?;
    Ok(request)
}

/// A mount's directory in sysfs.
pub fn object(mount: &Small) -> PathBuf {
    let device = mount.device().trim_start_matches("/dev/");
    PathBuf::from("/sys/fs/bento/mounts").join(device)
}

/// Replaces the version of `mount` by a write to sysfs.
pub fn by_sysfs(mount: &Small, name: &str) -> io::Result<()> {
    write_name(&object(mount).join("upgrade"), name)
}

/// Writes a name to a file that is there.
pub fn write_name(path: &Path, name: &str) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.write_all(name.as_bytes())
}

/// What a file of a mount in sysfs says.
pub fn value(mount: &Small, file: &str) -> Result<String> {
    let path = object(mount).join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.trim_end().to_string())
}
