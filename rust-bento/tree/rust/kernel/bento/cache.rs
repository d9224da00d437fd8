// SPDX-License-Identifier: GPL-2.0

//! Where inodes are allocated: one slab cache for all mounts.

use super::inode::CoreInode;
use crate::{
    bindings,
    prelude::*,
    sync::SetOnce, //
};

/// The slab cache.
struct Cache(*mut bindings::kmem_cache);

// SAFETY: A slab cache does its own locking.
unsafe impl Send for Cache {}
// SAFETY: As above.
unsafe impl Sync for Cache {}

static CACHE: SetOnce<Cache> = SetOnce::new();

/// Makes the cache. Called once, before the first mount.
pub(super) fn init() -> Result {
    // SAFETY: The name is static, and the constructor fits the size.
    let cache = unsafe {
        bindings::bento_inode_cache_create(
            size_of::<CoreInode>() as c_uint,
            align_of::<CoreInode>() as c_uint,
            Some(construct),
        )
    };
    if cache.is_null() {
        return Err(ENOMEM);
    }
    CACHE.populate(Cache(cache));
    Ok(())
}

/// The slab constructor: what stays valid over an inode's reuse.
///
/// # Safety
///
/// `memory` is that of a [`CoreInode`].
unsafe extern "C" fn construct(memory: *mut c_void) {
    // SAFETY: By this function's requirement.
    unsafe { bindings::inode_init_once(CoreInode::raw_of(memory.cast())) };
}

/// `super_operations.alloc_inode`
///
/// # Safety
///
/// `sb` is a Bento mount's.
pub(super) unsafe extern "C" fn alloc_inode(
    sb: *mut bindings::super_block,
) -> *mut bindings::inode {
    let Some(cache) = CACHE.as_ref() else {
        return core::ptr::null_mut();
    };
    // SAFETY: By this function's requirement; the cache lives for ever.
    let memory: *mut CoreInode = unsafe { bindings::bento_alloc_inode(sb, cache.0) }.cast();
    if memory.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: The memory is the cache's, so the constructor has run, and it stays in place until
    // `destroy_inode`.
    match unsafe { CoreInode::new().__init(memory) } {
        // SAFETY: Just initialised.
        Ok(()) => unsafe { CoreInode::raw_of(memory) },
    }
}

/// `super_operations.destroy_inode`: in process context, drops what the core has in the inode.
///
/// # Safety
///
/// Nobody uses `inode` any more, but for lookups under RCU, which look at `struct inode` only.
pub(super) unsafe extern "C" fn destroy_inode(inode: *mut bindings::inode) {
    // SAFETY: By this function's requirement. Dropping leaves `struct inode`, which is `Opaque`, as
    // it is.
    unsafe { core::ptr::drop_in_place(CoreInode::container(inode)) };
}

/// `super_operations.free_inode`: after a grace period.
///
/// # Safety
///
/// Nobody uses `inode` any more.
pub(super) unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
    let Some(cache) = CACHE.as_ref() else {
        return;
    };
    // SAFETY: By this function's requirement; the target of a symbolic link, which RCU walks read,
    // came from `kmalloc`.
    unsafe {
        bindings::bento_free_link(inode);
        bindings::kmem_cache_free(cache.0, CoreInode::container(inode).cast());
    }
}
