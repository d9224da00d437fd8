// SPDX-License-Identifier: GPL-2.0

//! Directories of the core in sysfs.
//!
//! A directory is a kobject with a value `T` that tells what it is about, and files from a static
//! list. The memory goes when the last user of the kobject has gone; the files go with
//! [`Directory::remove`], which waits for who is reading or writing one.
//!
//! C headers: [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use super::table::Table;
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    fmt::Write,
    page::PAGE_SIZE,
    prelude::*,
    str::{
        as_char_ptr_in_const_context,
        CStr,
        CString,
        Formatter, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};
use core::ptr::NonNull;

/// What the core has directories about.
pub(super) trait Subject: Sized + Send + Sync + 'static {
    /// The functions of its kobjects, made by [`kind`].
    const KIND: &'static Table<bindings::kobj_type>;
}

/// Writes what is in a file.
type Show<T> = fn(&Target<T>, &mut Formatter<'_>) -> Result;
/// Takes what is written to a file, without the newline.
type Store<T> = fn(&Target<T>, &Attribute<T>, &[u8]) -> Result;

/// A file in a directory about a `T`.
#[repr(C)]
pub(super) struct Attribute<T> {
    raw: bindings::attribute,
    show: Show<T>,
    store: Option<Store<T>>,
}

// SAFETY: Constant, with a pointer to a static name.
unsafe impl<T> Sync for Attribute<T> {}

impl<T> Attribute<T> {
    /// A file that everybody may read.
    pub(super) const fn new(name: &'static CStr, show: Show<T>) -> Self {
        let mut raw: bindings::attribute = pin_init::zeroed();
        raw.name = as_char_ptr_in_const_context(name);
        raw.mode = 0o444;
        Self {
            raw,
            show,
            store: None,
        }
    }

    /// A file that root may write to, too.
    pub(super) const fn writable(name: &'static CStr, show: Show<T>, store: Store<T>) -> Self {
        let mut this = Self::new(name, show);
        this.raw.mode = 0o644;
        this.store = Some(store);
        this
    }
}

/// The kobject of a directory, and what it is about.
#[repr(C)]
#[pin_data]
pub(super) struct Target<T> {
    #[pin]
    raw: Opaque<bindings::kobject>,
    pub(super) subject: T,
}

impl<T> Target<T> {
    /// Lets the directory be removed while a file of it is being written to, until the value is
    /// dropped.
    ///
    /// # Safety
    ///
    /// Called from a file's `store`, for that file. The caller keeps alive what it uses.
    pub(super) unsafe fn unprotect(&self, file: &Attribute<T>) -> Unprotected {
        // SAFETY: By this function's requirement.
        Unprotected(unsafe {
            bindings::sysfs_break_active_protection(self.raw.get(), &raw const file.raw)
        })
    }
}

/// See [`Target::unprotect`].
pub(super) struct Unprotected(*mut bindings::kernfs_node);

impl Drop for Unprotected {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: It came from `sysfs_break_active_protection`.
            unsafe { bindings::sysfs_unbreak_active_protection(self.0) };
        }
    }
}

/// A directory in sysfs.
///
/// # Invariants
///
/// Holds a reference to the kobject, which is added as long as `is_there`.
pub(super) struct Directory<T: Subject> {
    target: NonNull<Target<T>>,
    is_there: Atomic<bool>,
}

// SAFETY: A kobject does its own locking, and `T` may be used from everywhere.
unsafe impl<T: Subject> Send for Directory<T> {}
// SAFETY: As above.
unsafe impl<T: Subject> Sync for Directory<T> {}

impl<T: Subject> Directory<T> {
    /// Makes a directory `name`, in `parent` or, if that is null, in that of `set`.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENOMEM`.
    ///
    /// # Safety
    ///
    /// `set` and `parent` are valid or null, and stay.
    pub(super) unsafe fn new(
        set: *mut bindings::kset,
        parent: *mut bindings::kobject,
        name: &str,
        subject: T,
        files: &'static [Attribute<T>],
    ) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("{name}"))?;
        let target = KBox::pin_init(
            pin_init!(Target {
                raw <- Opaque::ffi_init(|slot: *mut bindings::kobject| {
                    // SAFETY: `slot` is valid for writes; the kind is static.
                    unsafe {
                        slot.write(pin_init::zeroed());
                        (*slot).kset = set;
                        bindings::kobject_init(slot, &**T::KIND);
                    }
                }),
                subject,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: It does not move before `release`, which drops the box.
        let target = KBox::into_raw(unsafe { Pin::into_inner_unchecked(target) });
        // INVARIANT: `kobject_init` gives the first reference.
        let this = Self {
            // SAFETY: A box is not null.
            target: unsafe { NonNull::new_unchecked(target) },
            is_there: Atomic::new(false),
        };
        // SAFETY: Initialised; the format takes one string.
        to_result(unsafe {
            bindings::kobject_add(this.raw(), parent, c"%s".as_char_ptr(), name.as_char_ptr())
        })?;
        this.is_there.store(true, Relaxed);
        for file in files {
            // SAFETY: The kobject was added, the file is static.
            to_result(unsafe {
                bindings::sysfs_create_file_ns(this.raw(), &file.raw, core::ptr::null())
            })?;
        }
        Ok(this)
    }

    /// The kobject.
    pub(super) fn raw(&self) -> *mut bindings::kobject {
        // SAFETY: By the type invariant it is there.
        unsafe { self.target.as_ref() }.raw.get()
    }

    /// Removes the directory with its files, once nobody reads or writes one. Nothing if that was
    /// done before.
    pub(super) fn remove(&self) {
        // A second `kobject_del` would let go of its parents once more.
        if self.is_there.xchg(false, Relaxed) {
            // SAFETY: By the type invariant it was added, and not removed.
            unsafe { bindings::kobject_del(self.raw()) };
        }
    }
}

impl<T: Subject> Drop for Directory<T> {
    fn drop(&mut self) {
        self.remove();
        // SAFETY: By the type invariant.
        unsafe { bindings::kobject_put(self.raw()) };
    }
}

/// The functions of kobjects about a `T`.
pub(super) const fn kind<T: Subject>(
    operations: &'static bindings::sysfs_ops,
) -> Table<bindings::kobj_type> {
    let mut kind: bindings::kobj_type = pin_init::zeroed();
    kind.release = Some(release::<T>);
    kind.sysfs_ops = operations;
    Table(kind)
}

/// The functions of files in directories about a `T`.
pub(super) const fn operations<T: Subject>() -> bindings::sysfs_ops {
    bindings::sysfs_ops {
        show: Some(show::<T>),
        store: Some(store::<T>),
    }
}

/// The last reference has gone.
///
/// # Safety
///
/// `kobject` is that of a `Target<T>`, which [`Directory::new`] has made.
unsafe extern "C" fn release<T: Subject>(kobject: *mut bindings::kobject) {
    // SAFETY: By this function's requirement; the kobject is the first field.
    drop(unsafe { KBox::from_raw(kobject.cast::<Target<T>>()) });
}

/// # Safety
///
/// `kobject` is that of a `Target<T>`, `file` that of an `Attribute<T>`; `page` is a page.
unsafe extern "C" fn show<T: Subject>(
    kobject: *mut bindings::kobject,
    file: *mut bindings::attribute,
    page: *mut c_char,
) -> isize {
    from_result(|| {
        // SAFETY: By this function's requirement; both are first fields.
        let (target, file) =
            unsafe { (&*kobject.cast::<Target<T>>(), &*file.cast::<Attribute<T>>()) };
        // SAFETY: By this function's requirement.
        let mut text = unsafe { Formatter::from_buffer(page.cast(), PAGE_SIZE) };
        (file.show)(target, &mut text)?;
        text.write_char('\n')?;
        Ok(text.bytes_written() as isize)
    })
}

/// # Safety
///
/// As [`show`]; `text` holds `len` bytes.
unsafe extern "C" fn store<T: Subject>(
    kobject: *mut bindings::kobject,
    file: *mut bindings::attribute,
    text: *const c_char,
    len: usize,
) -> isize {
    from_result(|| {
        // SAFETY: As in `show`.
        let (target, file) =
            unsafe { (&*kobject.cast::<Target<T>>(), &*file.cast::<Attribute<T>>()) };
        // SAFETY: By this function's requirement.
        let text = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), len) };
        let store = file.store.ok_or(EACCES)?;
        store(target, file, text.strip_suffix(b"\n").unwrap_or(text))?;
        Ok(len as isize)
    })
}
