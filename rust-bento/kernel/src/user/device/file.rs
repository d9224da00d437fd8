// SPDX-License-Identifier: GPL-2.0

//! An image file or a block device.

use super::{
    check_range,
    Device,
    BLOCK_SIZE, //
};
use crate::{
    bento::Block,
    error::{
        code::*,
        Error,
        Result, //
    },
};
use rustix::{
    fs::{
        fallocate,
        fcntl_lock,
        flock,
        FallocateFlags,
        FlockOperation, //
    },
    io::Errno, //
};
use std::{
    fs::{
        File,
        OpenOptions, //
    },
    io::{
        Seek,
        SeekFrom, //
    },
    os::unix::fs::{
        FileExt,
        FileTypeExt,
        OpenOptionsExt, //
    },
    path::Path,
};

/// An image file or a block device, locked against every other user of this crate.
pub struct FileDevice {
    file: File,
    blocks: u64,
    read_only: bool,
}

impl FileDevice {
    /// Opens `path` for reading and writing.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is in use: another process holds the lock, or it is a mounted block device.
    /// `EINVAL` if it is neither a regular file nor a block device. Else what the system says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), false)
    }

    /// Opens `path` for reading.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), true)
    }

    /// Makes an image file of this size, or opens one that exists and makes it at least so large.
    pub fn create(path: impl AsRef<Path>, blocks: u64) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.as_ref())?;
        if file.metadata()?.is_file() && file.metadata()?.len() < blocks * BLOCK_SIZE as u64 {
            file.set_len(blocks * BLOCK_SIZE as u64)?;
        }
        drop(file);
        Self::open(path)
    }

    fn open_with(path: &Path, read_only: bool) -> Result<Self> {
        let kind = std::fs::metadata(path)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(EINVAL);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(!read_only);
        if kind.is_block_device() && !read_only {
            // Without O_CREAT: fails if the device is mounted or otherwise claimed.
            options.custom_flags(rustix::fs::OFlags::EXCL.bits() as i32);
        }
        let mut file = options.open(path)?;
        let operation = match read_only {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        flock(&file, operation).map_err(|_| EBUSY)?;
        // A virtual machine that uses the image has a lock of the other kind. Where a file system
        // has none of them nobody can have one.
        if let Err(Errno::AGAIN | Errno::ACCESS) = fcntl_lock(&file, operation) {
            return Err(EBUSY);
        }
        let blocks = file.seek(SeekFrom::End(0))? / BLOCK_SIZE as u64;
        Ok(Self {
            file,
            blocks,
            read_only,
        })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn fallocate(&self, flags: FallocateFlags, block: Block, len: u64) -> Result {
        if self.read_only {
            return Err(EROFS);
        }
        let bytes = usize::try_from(len)?
            .checked_mul(BLOCK_SIZE)
            .ok_or(EINVAL)?;
        let offset = check_range(self.blocks, block, bytes)?;
        fallocate(&self.file, flags, offset, bytes as u64)
            .map_err(|errno| Error::from_errno(-errno.raw_os_error()))
    }
}

impl Device for FileDevice {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, block: Block, out: &mut [u8]) -> Result {
        let offset = check_range(self.blocks, block, out.len())?;
        Ok(self.file.read_exact_at(out, offset)?)
    }

    fn write(&self, block: Block, data: &[u8]) -> Result {
        if self.read_only {
            return Err(EROFS);
        }
        let offset = check_range(self.blocks, block, data.len())?;
        Ok(self.file.write_all_at(data, offset)?)
    }

    fn flush(&self) -> Result {
        match self.read_only {
            true => Ok(()),
            false => Ok(self.file.sync_data()?),
        }
    }

    fn discard(&self, block: Block, len: u64) -> Result {
        if len == 0 {
            return Ok(());
        }
        self.fallocate(
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            block,
            len,
        )
    }

    fn zero(&self, block: Block, len: u64) -> Result {
        if len == 0 {
            return Ok(());
        }
        match self.fallocate(
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            block,
            len,
        ) {
            Err(EOPNOTSUPP) => super::write_zeroes(self, block, len),
            result => result,
        }
    }
}
