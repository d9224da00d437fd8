// SPDX-License-Identifier: GPL-2.0

//! Between the types of Bento and those of the crate `fuser`.

use fuser::{
    Errno,
    FileAttr,
    FileType,
    INodeNo, //
};
use kernel::{
    bento::{
        Kind,
        Time, //
    },
    error::Error,
    user::{
        device::BLOCK_SIZE,
        Stat, //
    },
};
use std::time::{
    Duration,
    SystemTime,
    UNIX_EPOCH, //
};

pub(crate) fn errno(error: Error) -> Errno {
    Errno::from_i32(-error.to_errno())
}

pub(crate) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Fifo => FileType::NamedPipe,
        Kind::CharDevice => FileType::CharDevice,
        Kind::Directory => FileType::Directory,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Regular => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::Socket => FileType::Socket,
    }
}

pub(crate) fn attributes(stat: &Stat) -> FileAttr {
    let attributes = &stat.attributes;
    FileAttr {
        ino: INodeNo(stat.ino),
        size: attributes.size,
        blocks: attributes.sectors,
        atime: system_time(attributes.atime),
        mtime: system_time(attributes.mtime),
        ctime: system_time(attributes.ctime),
        crtime: system_time(attributes.btime),
        kind: file_type(stat.kind),
        perm: attributes.mode & 0o7777,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: attributes.rdev,
        blksize: BLOCK_SIZE as u32,
        flags: 0,
    }
}

/// What stands for "there is no such inode", or for one that cannot be told of.
pub(crate) fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_SIZE as u32,
        flags: 0,
    }
}

pub(crate) fn system_time(time: Time) -> SystemTime {
    let seconds = Duration::from_secs(time.sec.unsigned_abs());
    let whole = match time.sec {
        0.. => UNIX_EPOCH.checked_add(seconds),
        _ => UNIX_EPOCH.checked_sub(seconds),
    };
    whole
        .and_then(|whole| whole.checked_add(Duration::from_nanos(time.nsec.into())))
        .unwrap_or(UNIX_EPOCH)
}

/// The time of a request. The crate (0.18) subtracts the nanoseconds of times before 1970, where
/// the kernel means them to be added: that is turned back here.
pub(crate) fn requested_time(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time {
            sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nsec: after.subsec_nanos(),
        },
        Err(error) => {
            let before = error.duration();
            Time {
                sec: 0i64.saturating_sub_unsigned(before.as_secs()),
                nsec: before.subsec_nanos(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_count_nanoseconds_forward() {
        let half_a_second_before = Time {
            sec: -1,
            nsec: 500_000_000,
        };
        assert_eq!(
            system_time(half_a_second_before),
            UNIX_EPOCH - Duration::from_millis(500)
        );
        assert_eq!(
            system_time(Time { sec: 7, nsec: 8 }),
            UNIX_EPOCH + Duration::new(7, 8)
        );
    }

    #[test]
    fn requested_times_come_as_the_kernel_gave_them() {
        // What the crate makes of (-1, 500000000).
        let from_crate = UNIX_EPOCH - Duration::new(1, 500_000_000);
        assert_eq!(
            requested_time(from_crate),
            Time {
                sec: -1,
                nsec: 500_000_000
            }
        );
        assert_eq!(
            requested_time(UNIX_EPOCH + Duration::new(3, 4)),
            Time { sec: 3, nsec: 4 }
        );
    }
}
