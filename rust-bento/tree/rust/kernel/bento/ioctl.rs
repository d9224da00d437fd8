// SPDX-License-Identifier: GPL-2.0

//! Commands on files and directories: `FS_IOC_SHUTDOWN`, `BENTO_IOC_UPGRADE`.

use super::{
    inode::CoreInode,
    request::bento_upgrade_file,
    super_block::CoreSuper, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ioctl::{
        _IOC_NR,
        _IOC_SIZE,
        _IOC_TYPE,
        _IOR, //
    },
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

const SHUTDOWN: u32 = _IOR::<u32>(b'X' as u32, 125);

/// The number of `BENTO_IOC_UPGRADE`. Its size is that of the caller's structure.
const UPGRADE: u32 = 1;

/// `file_operations.unlocked_ioctl`
///
/// # Safety
///
/// `file` is open, of a Bento mount.
pub(super) unsafe extern "C" fn ioctl(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
) -> c_long {
    if _IOC_TYPE(command) == bindings::BENTO_IOC_MAGIC && _IOC_NR(command) == UPGRADE {
        let request = core::ptr::with_exposed_provenance_mut(argument);
        // SAFETY: By this function's requirement.
        return unsafe { bento_upgrade_file(file, request, _IOC_SIZE(command)) } as c_long;
    }
    from_result(|| {
        // SAFETY: By this function's requirement.
        let sb = unsafe { CoreInode::from_raw((*file).f_inode) }.core_super();
        if command != SHUTDOWN {
            return Err(ENOTTY);
        }
        shut_down(sb, argument)?;
        Ok(0)
    })
}

/// Stops all changes to the volume, as after a crash.
fn shut_down(sb: &CoreSuper, argument: c_ulong) -> Result {
    // SAFETY: Always allowed.
    if !unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) } {
        return Err(EPERM);
    }
    let how: u32 = UserSlice::new(UserPtr::from_addr(argument), size_of::<u32>())
        .reader()
        .read()?;
    match how {
        // With all data on disk.
        bindings::FS_SHUTDOWN_FLAGS_DEFAULT => {
            // SAFETY: The device is open while the mount is there.
            to_result(unsafe { bindings::bdev_freeze(sb.bdev()) })?;
            sb.stop_writing(ESHUTDOWN, EIO);
            // SAFETY: Frozen above.
            to_result(unsafe { bindings::bdev_thaw(sb.bdev()) })?;
        }
        // With what the journal knows.
        bindings::FS_SHUTDOWN_FLAGS_LOGFLUSH => {
            sb.journal()?.commit(true)?;
            sb.stop_writing(ESHUTDOWN, EIO);
        }
        bindings::FS_SHUTDOWN_FLAGS_NOLOGFLUSH => sb.stop_writing(ESHUTDOWN, EIO),
        _ => return Err(EINVAL),
    }
    Ok(())
}
