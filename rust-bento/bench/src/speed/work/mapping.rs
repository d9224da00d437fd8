// SPDX-License-Identifier: GPL-2.0

//! A file in memory, by mmap.

use rustix::mm::{
    mmap,
    msync,
    munmap,
    MapFlags,
    MsyncFlags,
    ProtFlags, //
};
use std::{
    ffi::c_void,
    fs::File,
    io,
    ptr, //
};

/// A shared mapping of the first `len` bytes of a file.
///
/// # Invariants
///
/// `at` is the start of a mapping of `len` bytes that nobody else uses, of a file that is at least as long: its maker sees to
/// that.
pub struct Mapping {
    at: *mut c_void,
    len: usize,
}

impl Mapping {
    /// The file must not be cut while it is mapped: touching what is gone is a SIGBUS, which ends the program.
    pub fn new(file: &File, len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        if file.metadata()?.len() < len as u64 {
            return Err(io::Error::other("a file is shorter than its mapping"));
        }
        // SAFETY: A new mapping, at an address that the kernel chooses.
        let at = unsafe { mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0) }?;
        // INVARIANT: Just mapped with this length, and the file is as long.
        Ok(Self { at, len })
    }

    /// Copies from it.
    pub fn read(&self, at: usize, out: &mut [u8]) {
        assert!(at.checked_add(out.len()).is_some_and(|end| end <= self.len));
        // SAFETY: Within the mapping, by the check above and the invariant; `out` is no part of it, which nobody has a reference
        // to.
        unsafe {
            ptr::copy_nonoverlapping(self.at.cast::<u8>().add(at), out.as_mut_ptr(), out.len())
        };
    }

    /// Copies into it.
    pub fn write(&mut self, at: usize, data: &[u8]) {
        assert!(at
            .checked_add(data.len())
            .is_some_and(|end| end <= self.len));
        // SAFETY: As above.
        unsafe {
            ptr::copy_nonoverlapping(data.as_ptr(), self.at.cast::<u8>().add(at), data.len())
        };
    }

    /// Returns when what was written is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: The whole mapping, by the invariant.
        Ok(unsafe { msync(self.at, self.len, MsyncFlags::SYNC) }?)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: By the invariant a mapping of this length, which ends here. It can fail only for an address that is none.
        let _ = unsafe { munmap(self.at, self.len) };
    }
}
