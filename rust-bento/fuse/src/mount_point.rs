// SPDX-License-Identifier: GPL-2.0

//! The mount point: what is there, how it is left, and what root can set for it.

use rustix::{
    io::Errno,
    mount::{
        unmount,
        UnmountFlags, //
    },
};
use std::{
    fs,
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{
        Path,
        PathBuf, //
    },
};
use xv6_utils::failure::{
    Context,
    Failure,
    Result, //
};

/// A directory that something can be mounted on: its path without links.
pub fn check(path: &Path) -> Result<PathBuf> {
    let point = fs::canonicalize(path).context(path.display())?;
    match fs::metadata(&point).context(path.display())?.is_dir() {
        true => Ok(point),
        false => Err(Failure::new(format!("{}: not a directory", path.display()))),
    }
}

/// Whether the kernel's side of FUSE is there, for this user.
pub(crate) fn check_fuse() -> Result {
    let mut options = fs::OpenOptions::new();
    let Err(error) = options.read(true).write(true).open("/dev/fuse") else {
        return Ok(());
    };
    let remedy = match error.kind() {
        ErrorKind::NotFound => "`modprobe fuse` makes it, where the kernel has FUSE",
        ErrorKind::PermissionDenied => "udev lets every user open it, with mode 666",
        _ => "the kernel needs CONFIG_FUSE_FS",
    };
    Err(Failure::new(format!("/dev/fuse: {error}; {remedy}")))
}

/// The number of the device that is mounted on a path, as `major:minor`: of what is on top.
pub(crate) fn device(point: &Path) -> Option<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let wanted = point.as_os_str().as_bytes();
    let mut on_it = table.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let device = fields.nth(2)?;
        let path = fields.nth(1)?;
        (unescape(path) == wanted).then_some(device)
    });
    on_it.next_back().map(str::to_owned)
}

/// A path as the mount table has it: `\040` for a space, and so on.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| byte == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                out.push(escaped);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// How a mount was left.
pub(crate) enum Left {
    /// It is gone, or was already.
    Gone,
    /// It is gone for who comes now, and stays for who has files open.
    Detached,
    /// Only a helper with more rights can do it.
    NotAllowed,
}

/// Unmounts what is on `point`, if it is still `device`.
pub(crate) fn leave(point: &Path, device_there: Option<&str>) -> Result<Left> {
    if device_there.is_none() || device(point).as_deref() != device_there {
        return Ok(Left::Gone);
    }
    let result = match unmount(point, UnmountFlags::NOFOLLOW) {
        Err(Errno::BUSY) => {
            unmount(point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH).map(|()| Left::Detached)
        }
        Err(Errno::PERM) => Ok(Left::NotAllowed),
        // Somebody was faster.
        Err(Errno::INVAL) => Ok(Left::Gone),
        result => result.map(|()| Left::Gone),
    };
    result.context(format!("cannot unmount {}", point.display()))
}

/// Gives the mount what only root can give: a large readahead, and as much memory for dirty pages
/// as other file systems have. Where that is not to be had the mount is slower, and no worse.
pub(crate) fn tune(device: &str, readahead: u32) {
    let bdi = Path::new("/sys/class/bdi").join(device);
    for (name, value) in [
        ("read_ahead_kb", readahead),
        ("max_ratio", 100),
        ("strict_limit", 0),
    ] {
        if let Err(error) = fs::write(bdi.join(name), value.to_string()) {
            log::debug!("{}/{name}: {error}", bdi.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_tables_escape_spaces() {
        assert_eq!(unescape("/a\\040b\\134c"), b"/a b\\c");
        assert_eq!(unescape("/x\\9"), b"/x\\9");
    }

    #[test]
    fn a_mount_has_a_device() {
        // Not the root, which is no mount for who was put into a part of a tree.
        assert!(device(Path::new("/proc")).is_some_and(|device| device.contains(':')));
        assert_eq!(device(Path::new("/proc/self")), None);
    }
}
