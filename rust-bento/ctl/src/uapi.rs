// SPDX-License-Identifier: GPL-2.0

//! `include/uapi/linux/bento.h`: the request, the ioctl and the system call.

use rustix::ioctl;
use std::{
    io,
    os::fd::{
        AsFd,
        AsRawFd, //
    },
};

/// Bytes in a name, the NUL at its end included.
pub const NAME_SIZE: usize = 32;
/// Check what can be checked beforehand, and change nothing.
pub const DRY_RUN: u32 = 1;
/// Number of the system call `bento_upgrade`. It is 583 on alpha, where there is no Rust.
pub const SYSCALL: libc::c_long = 473;

const UPGRADE: ioctl::Opcode = ioctl::opcode::read_write::<BentoUpgrade>(0xBE, 1);

/// `struct bento_upgrade`. All times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BentoUpgrade {
    /// Size of the structure, in bytes.
    pub size: u32,
    /// [`DRY_RUN`] or 0.
    pub flags: u32,
    /// The implementation to switch to.
    pub name: [u8; NAME_SIZE],
    /// The implementation that served before.
    pub from_name: [u8; NAME_SIZE],
    /// Its version.
    pub from_version: u32,
    /// Version of the successor.
    pub to_version: u32,
    /// How often the gate was opened again because somebody did not leave in time.
    pub retries: u32,
    /// 0.
    pub pad: u32,
    /// Building the successor while the predecessor serves.
    pub stage_ns: u64,
    /// Waiting for those inside to leave.
    pub drain_ns: u64,
    /// Handing the state over.
    pub transfer_ns: u64,
    /// Putting the successor in place.
    pub switch_ns: u64,
    /// From closing the gate to opening it.
    pub pause_ns: u64,
    /// The longest that an operation waited at the gate.
    pub longest_wait_ns: u64,
}

const _: () = assert!(size_of::<BentoUpgrade>() == 136);

impl BentoUpgrade {
    /// A request to switch to `name`; [`None`] if the name is empty, too long or has a NUL.
    pub fn new(name: &str, flags: u32) -> Option<Self> {
        if name.is_empty() || name.len() >= NAME_SIZE || name.bytes().any(|b| b == 0) {
            return None;
        }
        let mut request = Self {
            size: size_of::<Self>() as u32,
            flags,
            ..Self::default()
        };
        for (to, from) in request.name.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Some(request)
    }

    /// The implementation that served before.
    pub fn from_name(&self) -> String {
        text(&self.from_name)
    }

    /// The implementation that was asked for.
    pub fn to_name(&self) -> String {
        text(&self.name)
    }
}

fn text(name: &[u8]) -> String {
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

/// Asks by the ioctl on `file`, a regular file or directory of the mount.
pub fn by_ioctl(file: impl AsFd, request: &mut BentoUpgrade) -> io::Result<()> {
    // SAFETY: The number says that the kernel reads and writes a structure of this size, and the
    // number's type is listed for this structure. All bit patterns are valid for it.
    let update = unsafe { ioctl::Updater::<UPGRADE, BentoUpgrade>::new(request) };
    // SAFETY: As above: nothing but the structure is written.
    unsafe { ioctl::ioctl(file, update) }.map_err(io::Error::from)
}

/// Asks by the system call.
pub fn by_syscall(file: impl AsFd, request: &mut BentoUpgrade) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    let at: *mut BentoUpgrade = request;
    // SAFETY: The kernel reads and writes at most as many bytes as it is told, and the structure
    // has them. All bit patterns are valid for it. A kernel without the call says ENOSYS.
    match unsafe { libc::syscall(SYSCALL, fd, at, size_of::<BentoUpgrade>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
