// SPDX-License-Identifier: GPL-2.0

//! Requests for an upgrade that come with a file: the ioctl's and the system call's.
//!
//! C headers: [`include/linux/bento.h`](srctree/include/linux/bento.h),
//! [`include/uapi/linux/bento.h`](srctree/include/uapi/linux/bento.h)

use super::{
    history::Report,
    inode::CoreInode,
    registry::ShortName,
    super_ops::SUPER_OPS,
    upgrade::{
        upgrade,
        Mode, //
    },
    Kind, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

/// Replaces the version of the mount that `file` is of. See include/linux/bento.h.
///
/// # Safety
///
/// `file` is open.
#[export]
pub(super) unsafe extern "C" fn bento_upgrade_file(
    file: *mut bindings::file,
    uarg: *mut bindings::bento_upgrade,
    usize: usize,
) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let inode = unsafe { bindings::file_inode(file) };
        // SAFETY: The inode of an open file is there, and so is its super block.
        if !core::ptr::eq(unsafe { (*(*inode).i_sb).s_op }, &SUPER_OPS) {
            return Err(EINVAL);
        }
        // SAFETY: Only Bento mounts have these operations.
        let inode = unsafe { CoreInode::from_raw(inode) };
        if !matches!(inode.kind(), Kind::Regular | Kind::Directory) {
            return Err(EINVAL);
        }
        // In the initial namespace: the successor is kernel code.
        // SAFETY: Always allowed.
        if !unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) } {
            return Err(EPERM);
        }
        let mut request = read(uarg, usize)?;
        let (name, mode) = check(&request, usize)?;
        let mut report = Report::new();
        upgrade(inode.core_super(), &name, mode, &mut report)?;
        answer(&mut request, &report);
        // SAFETY: Checks the user's memory, and reads what is of the size given.
        to_result(unsafe {
            bindings::copy_struct_to_user(
                uarg.cast(),
                usize,
                (&raw const request).cast(),
                size_of_val(&request),
            )
        })?;
        Ok(0)
    })
}

/// Copies a request from user space.
fn read(uarg: *mut bindings::bento_upgrade, usize: usize) -> Result<bindings::bento_upgrade> {
    if usize < bindings::BENTO_UPGRADE_SIZE_VER0 as usize {
        return Err(EINVAL);
    }
    if usize > PAGE_SIZE {
        return Err(E2BIG);
    }
    let mut request: bindings::bento_upgrade = pin_init::zeroed();
    // SAFETY: Checks the user's memory, and writes what is of the size given.
    to_result(unsafe {
        bindings::copy_struct_from_user(
            (&raw mut request).cast(),
            size_of_val(&request),
            uarg.cast(),
            usize,
        )
    })?;
    Ok(request)
}

/// What a request asks for.
///
/// # Errors
///
/// `EINVAL` if it says nothing that makes sense.
fn check(request: &bindings::bento_upgrade, usize: usize) -> Result<(ShortName, Mode)> {
    let mode = match request.flags {
        0 => Mode::Replace,
        bindings::BENTO_UPGRADE_DRY_RUN => Mode::DryRun,
        _ => return Err(EINVAL),
    };
    if request.size as usize != usize || request.__pad != 0 {
        return Err(EINVAL);
    }
    let name = &request.name;
    let len = name.iter().position(|&b| b == 0).ok_or(EINVAL)?;
    let name = core::str::from_utf8(name.get(..len).ok_or(EINVAL)?).map_err(|_| EINVAL)?;
    Ok((ShortName::new(name)?, mode))
}

/// Fills in what came out of it.
fn answer(request: &mut bindings::bento_upgrade, report: &Report) {
    for (to, from) in request.from_name.iter_mut().zip(report.from.0.bytes()) {
        *to = *from;
    }
    request.from_version = report.from.1;
    request.to_version = report.to.1;
    request.retries = report.retries;
    request.stage_ns = report.stage;
    request.drain_ns = report.drain;
    request.transfer_ns = report.transfer;
    request.switch_ns = report.switch;
    request.pause_ns = report.pause;
    request.longest_wait_ns = report.longest_wait;
}
