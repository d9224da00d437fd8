// SPDX-License-Identifier: GPL-2.0

//! Mounting and remounting: the file system context.
//!
//! The core knows a few options itself; the others are kept until the implementation is chosen,
//! and then checked against what it takes.
//!
//! C header: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h)

use super::{
    options::{
        Options,
        Wrong, //
    },
    registry::{
        self,
        Pinned,
        ShortName, //
    },
    super_block::{
        self,
        CoreSuper,
        OnError, //
    },
    OptionSpec, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    fmt,
    prelude::*,
    str::{
        CStr,
        CString, //
    },
    types::ForeignOwnable, //
};

/// `ENOPARAM` of include/linux/errno.h: the VFS looks at the parameter itself.
const ENOPARAM: c_int = 519;

/// What is to be mounted, or changed.
pub(super) struct MountContext {
    pub(super) on_error: Option<OnError>,
    /// Seconds between commits.
    pub(super) commit: Option<u32>,
    pub(super) discard: Option<bool>,
    implementation: Option<ShortName>,
    pub(super) options: Options,
    /// The implementation, between `get_tree` and the end of `fill_super`.
    pub(super) pinned: Option<Pinned>,
}

/// The functions of a context. All of them are the core's.
static CONTEXT_OPS: bindings::fs_context_operations = bindings::fs_context_operations {
    free: Some(free),
    dup: None,
    parse_param: Some(parse_param),
    parse_monolithic: None,
    get_tree: Some(get_tree),
    reconfigure: Some(reconfigure),
};

/// The core's part of a context.
///
/// # Safety
///
/// `fc` was set up by [`init_fs_context`], and nobody else uses it during `'a`.
pub(super) unsafe fn of<'a>(fc: *mut bindings::fs_context) -> &'a mut MountContext {
    // SAFETY: By this function's requirement `fs_private` is the box that `init_fs_context` left.
    unsafe { &mut *(*fc).fs_private.cast::<MountContext>() }
}

/// `file_system_type.init_fs_context`
///
/// # Safety
///
/// `fc` is valid, and nobody else uses it.
pub(super) unsafe extern "C" fn init_fs_context(fc: *mut bindings::fs_context) -> c_int {
    from_result(|| {
        let context = KBox::new(
            MountContext {
                on_error: None,
                commit: None,
                discard: None,
                implementation: None,
                options: Options::new(),
                pinned: None,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: By this function's requirement.
        unsafe {
            (*fc).fs_private = context.into_foreign().cast();
            (*fc).ops = &CONTEXT_OPS;
            // For a remount too: its flags replace those of the mount.
            (*fc).sb_flags |= bindings::SB_I_VERSION as c_uint;
        }
        Ok(0)
    })
}

/// # Safety
///
/// `fc` was set up by [`init_fs_context`], and goes away.
unsafe extern "C" fn free(fc: *mut bindings::fs_context) {
    // SAFETY: By this function's requirement.
    let context = unsafe { (*fc).fs_private };
    if !context.is_null() {
        // SAFETY: It came from `into_foreign`, and nobody uses it again.
        drop(unsafe { <KBox<MountContext> as ForeignOwnable>::from_foreign(context.cast()) });
    }
}

/// Says what is wrong with the mount, in the log of the context (or the kernel's, for mount(2)).
///
/// # Safety
///
/// `fc` is valid.
unsafe fn explain(fc: *mut bindings::fs_context, what: fmt::Arguments<'_>) {
    let Ok(what) = CString::try_from_fmt(what) else {
        return;
    };
    // SAFETY: `fc` is valid, and the format takes one string.
    unsafe {
        bindings::logfc(
            (*fc).log.log,
            (*fc).log.prefix,
            b'e' as c_char,
            c"%s".as_char_ptr(),
            what.as_char_ptr(),
        )
    };
}

/// # Safety
///
/// `fc` was set up by [`init_fs_context`], `param` is valid.
unsafe extern "C" fn parse_param(
    fc: *mut bindings::fs_context,
    param: *mut bindings::fs_parameter,
) -> c_int {
    // SAFETY: By this function's requirement; the key is a string.
    let key = unsafe { CStr::from_char_ptr((*param).key) };
    // SAFETY: By this function's requirement.
    let value = match unsafe { (*param).type_() } {
        bindings::fs_value_type_fs_value_is_flag => None,
        bindings::fs_value_type_fs_value_is_string => {
            // SAFETY: The type says that it is a string.
            Some(unsafe { CStr::from_char_ptr((*param).__bindgen_anon_1.string) })
        }
        _ => return -ENOPARAM,
    };
    let (Ok(key), Ok(value)) = (key.to_str(), value.map(CStr::to_str).transpose()) else {
        return EINVAL.to_errno();
    };
    if key == "source" {
        return -ENOPARAM;
    }
    // SAFETY: By this function's requirement.
    let context = unsafe { of(fc) };
    from_result(|| {
        match context.take(key, value) {
            Ok(true) => return Ok(0),
            Ok(false) => (),
            Err(error) => {
                // SAFETY: `fc` is valid.
                unsafe { explain(fc, fmt!("Bad value for '{key}'")) };
                return Err(error);
            }
        }
        context.options.add(key, value)?;
        Ok(0)
    })
}

impl MountContext {
    /// Takes an option of the core; `false` if it is none.
    fn take(&mut self, key: &str, value: Option<&str>) -> Result<bool> {
        match (key, value) {
            ("errors", Some(word)) => self.on_error = Some(OnError::from_word(word)?),
            ("commit", Some(seconds)) => {
                let seconds = seconds.parse::<u32>().map_err(|_| EINVAL)?;
                if seconds > super_block::MAX_COMMIT_SECONDS {
                    return Err(EINVAL);
                }
                self.commit = Some(seconds);
            }
            ("discard", None) => self.discard = Some(true),
            ("nodiscard", None) => self.discard = Some(false),
            ("impl", Some(name)) => self.implementation = Some(ShortName::new(name)?),
            ("errors" | "commit" | "discard" | "nodiscard" | "impl", _) => return Err(EINVAL),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Checks the options that are left to the implementation.
    ///
    /// # Safety
    ///
    /// `fc` is valid.
    unsafe fn check(&self, fc: *mut bindings::fs_context, specs: &[OptionSpec]) -> Result {
        self.options.check(specs).map_err(|(name, wrong)| {
            // SAFETY: By this function's requirement.
            unsafe {
                match wrong {
                    Wrong::Unknown => explain(fc, fmt!("Unknown parameter '{name}'")),
                    Wrong::Value => explain(fc, fmt!("Bad value for '{name}'")),
                }
            }
            EINVAL
        })
    }
}

/// # Safety
///
/// `fc` was set up by [`init_fs_context`].
unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement. Not used any more when `get_tree_bdev` is called:
        // `fill_super` has it then.
        let context = unsafe { of(fc) };
        // SAFETY: As above.
        let fs_type = unsafe { (*fc).fs_type };
        let pinned = registry::pin(fs_type, context.implementation.as_ref()).inspect_err(|_| {
            if let Some(name) = &context.implementation {
                // SAFETY: As above.
                unsafe { explain(fc, fmt!("no implementation '{}' is loaded", name.as_str())) };
            }
        })?;
        // SAFETY: As above.
        unsafe { context.check(fc, pinned.table().options) }?;
        context.pinned = Some(pinned);
        // SAFETY: As above.
        let result = unsafe { bindings::get_tree_bdev(fc, Some(super_block::fill_super)) };
        // Left over if the super block was there already, or the mount failed.
        // SAFETY: As above, and `fill_super` has returned.
        unsafe { of(fc) }.pinned = None;
        to_result(result).map(|()| 0)
    })
}

/// # Safety
///
/// `fc` was set up by [`init_fs_context`] for a mount that is there; `s_umount` is held.
unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let context = unsafe { of(fc) };
        // SAFETY: As above; a mounted super block has `s_fs_info`.
        let sb = unsafe { CoreSuper::from_raw((*(*fc).root).d_sb) };
        // SAFETY: As above.
        unsafe { context.check(fc, sb.serving().table().options) }?;
        // SAFETY: As above.
        let (flags, mask) = unsafe { ((*fc).sb_flags, (*fc).sb_flags_mask) };
        // A flag that is not in the mask stays as it is: fsconfig(2) sets only what was asked for.
        let read_only = if mask & (bindings::SB_RDONLY as c_uint) != 0 {
            flags & (bindings::SB_RDONLY as c_uint) != 0
        } else {
            sb.is_read_only()
        };
        let forced = flags & (bindings::SB_FORCE as c_uint) != 0;
        sb.reconfigure(context, read_only, forced)?;
        Ok(0)
    })
}

#[kunit_tests(rust_bento_context)]
mod tests {
    use super::*;

    #[test]
    fn the_core_takes_its_own_options() -> Result {
        let mut context = MountContext {
            on_error: None,
            commit: None,
            discard: None,
            implementation: None,
            options: Options::new(),
            pinned: None,
        };
        assert!(context.take("errors", Some("panic"))?);
        assert!(context.on_error == Some(OnError::Panic));
        assert!(context.take("errors", Some("never")).is_err());
        assert!(context.take("errors", None).is_err());
        assert!(context.take("commit", Some("5"))?);
        assert!(context.commit == Some(5));
        assert!(context.take("commit", Some("-5")).is_err());
        assert!(context.take("nodiscard", None)?);
        assert!(context.discard == Some(false));
        assert!(!context.take("format_option", None)?);
        Ok(())
    }
}
