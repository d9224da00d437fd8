// SPDX-License-Identifier: GPL-2.0

//! Formats and their implementations.
//!
//! A format is what `mount -t` names. The VFS keeps raw pointers to its `file_system_type`, and
//! lockdep to the lock classes in it, so each format has a slot of a static table that is never
//! freed, only used again for the same name. The type is known to the VFS while the format has an
//! implementation. The module of an implementation is pinned for each mount that it serves.

use super::{
    context,
    instance::{
        Adapter,
        Instance, //
    },
    sysfs::ImplementationObject,
    FileSystem,
    STATE_SIZE_MAX, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::SetOnce,
    types::Opaque, //
};
use core::{
    mem::ManuallyDrop,
    ptr::addr_of, //
};

/// How many formats there may be, from boot on.
const FORMATS: usize = 8;
/// How many implementations a format may have at a time.
const IMPLEMENTATIONS: usize = 16;
/// The longest name of a format or an implementation, in bytes.
pub(super) const NAME_LEN: usize = 31;

/// A short name, kept in core memory and ended by NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ShortName([u8; NAME_LEN + 1]);

impl ShortName {
    /// No name.
    pub(super) const EMPTY: Self = Self([0; NAME_LEN + 1]);

    /// Copies `name`.
    pub(super) fn new(name: &str) -> Result<Self> {
        let mut copy = Self::EMPTY;
        if name.is_empty() || name.len() > NAME_LEN || name.bytes().any(|b| b == 0) {
            return Err(EINVAL);
        }
        for (to, from) in copy.0.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Ok(copy)
    }

    /// The name's bytes, with NULs behind them.
    pub(super) fn bytes(&self) -> &[u8; NAME_LEN + 1] {
        &self.0
    }

    /// The name.
    pub(super) fn as_str(&self) -> &str {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(NAME_LEN);
        core::str::from_utf8(self.0.get(..len).unwrap_or(&[])).unwrap_or("")
    }
}

/// The place of a `file_system_type` that is never freed.
struct TypeSlot(Opaque<bindings::file_system_type>);

// SAFETY: Written under the registry's lock while the VFS does not know it.
unsafe impl Sync for TypeSlot {}

static TYPES: [TypeSlot; FORMATS] = [const { TypeSlot(Opaque::zeroed()) }; FORMATS];

/// One implementation.
#[derive(Clone, Copy)]
struct Implementation {
    name: ShortName,
    table: &'static Instance,
    module: *mut bindings::module,
    /// How many uses pin the module.
    users: u32,
}

/// One format.
struct Format {
    name: ShortName,
    implementations: [Option<Implementation>; IMPLEMENTATIONS],
}

impl Format {
    const EMPTY: Self = Self {
        name: ShortName::EMPTY,
        implementations: [None; IMPLEMENTATIONS],
    };

    fn is_registered(&self) -> bool {
        self.implementations.iter().any(Option::is_some)
    }

    fn find(&self, name: &ShortName) -> Option<&Implementation> {
        self.implementations
            .iter()
            .flatten()
            .find(|implementation| implementation.name == *name)
    }

    fn find_mut(&mut self, name: &ShortName) -> Option<&mut Implementation> {
        self.implementations
            .iter_mut()
            .flatten()
            .find(|implementation| implementation.name == *name)
    }
}

/// All formats.
pub(super) struct Registry {
    formats: [Format; FORMATS],
}

impl Registry {
    /// The format that `fs_type` stands for.
    fn format_of(&mut self, fs_type: *mut bindings::file_system_type) -> Option<&mut Format> {
        TYPES
            .iter()
            .zip(self.formats.iter_mut())
            .find(|(slot, _)| is_slot(slot, fs_type))
            .map(|(_, format)| format)
    }
}

// SAFETY: The module pointers are used under the registry's lock, or while the module is pinned.
unsafe impl Send for Registry {}

kernel::sync::global_lock! {
    // SAFETY: Initialised in `init`. `register`, which is the first to come here, asks `READY`.
    unsafe(uninit) static KNOWN_FORMATS: Mutex<Registry> = Registry {
        formats: [Format::EMPTY; FORMATS],
    };
}

/// Populated when the registry is ready. It never is if there was no memory for the core at boot,
/// and not yet for a file system that is linked before the core.
static READY: SetOnce<()> = SetOnce::new();

/// Prepares the registry.
///
/// # Safety
///
/// Called once.
pub(super) unsafe fn init() {
    // SAFETY: By this function's requirement, and nobody registers before the next line.
    unsafe { KNOWN_FORMATS.init() };
    READY.populate(());
}

/// A use of an implementation, which keeps its module loaded.
///
/// # Invariants
///
/// A reference to `module` is held.
pub(super) struct Pinned {
    format: ShortName,
    name: ShortName,
    table: &'static Instance,
    module: *mut bindings::module,
}

// SAFETY: A module reference may be given back from any task.
unsafe impl Send for Pinned {}
// SAFETY: Shared use only reads.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// The implementation's table; valid while `self` lives.
    pub(super) fn table(&self) -> &'static Instance {
        self.table
    }

    /// The implementation's name.
    pub(super) fn short_name(&self) -> &ShortName {
        &self.name
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for format in &mut KNOWN_FORMATS.lock().formats {
            if format.name == self.format {
                if let Some(implementation) = format.find_mut(&self.name) {
                    implementation.users = implementation.users.saturating_sub(1);
                }
            }
        }
        // SAFETY: By the type invariant. This is text of the core, so the module may go at once.
        unsafe { bindings::module_put(self.module) };
    }
}

/// Whether the `init` of a module has not returned yet.
///
/// # Safety
///
/// The module is null, which is the kernel itself, or there.
unsafe fn is_coming(module: *mut bindings::module) -> bool {
    if module.is_null() {
        return false;
    }
    // SAFETY: By this function's requirement. The state is written by others, as one word.
    let state = unsafe { (&raw const (*module).state).read_volatile() };
    state == bindings::module_state_MODULE_STATE_COMING
}

/// A module's name, with the NUL at its end.
type ModuleName = [c_char; 64 - size_of::<usize>()];

/// Takes a reference to the module of an implementation.
///
/// # Errors
///
/// `ENOENT` if the module is going away; `EAGAIN`, and its name in `loading`, if it is still being
/// loaded: its `init` can fail yet, and then it goes, whatever references there are.
fn take(
    format: ShortName,
    implementation: &mut Implementation,
    loading: &mut ModuleName,
) -> Result<Pinned> {
    // SAFETY: The module is registered, and cannot unregister, as it does before it goes, while
    // the caller holds the registry.
    unsafe {
        if is_coming(implementation.module) {
            *loading = (*implementation.module).name;
            return Err(EAGAIN);
        }
        if !bindings::try_module_get(implementation.module) {
            return Err(ENOENT);
        }
    }
    implementation.users = implementation.users.saturating_add(1);
    // INVARIANT: Just taken.
    Ok(Pinned {
        format,
        name: implementation.name,
        table: implementation.table,
        module: implementation.module,
    })
}

/// Takes an implementation with `take`; if its module is still being loaded, once it is.
///
/// # Errors
///
/// As `take`. `EAGAIN` if there is no `modprobe` to wait with.
fn once_loaded(mut take: impl FnMut(&mut ModuleName) -> Result<Pinned>) -> Result<Pinned> {
    let mut loading = [0; 64 - size_of::<usize>()];
    match take(&mut loading) {
        Err(error) if error == EAGAIN => {
            // It returns when the module is there, or has failed.
            // SAFETY: The name ends with NUL.
            unsafe { bindings::bento_load_module(c"".as_char_ptr(), loading.as_ptr()) };
            take(&mut loading)
        }
        result => result,
    }
}

/// Whether `slot` is that of the type.
fn is_slot(slot: &TypeSlot, fs_type: *mut bindings::file_system_type) -> bool {
    core::ptr::eq(slot.0.get(), fs_type)
}

/// Loads the module of a format's default implementation, if only others are there: the VFS, which
/// knows the format by those, does not.
fn load_default(fs_type: *mut bindings::file_system_type) -> Result {
    let name = {
        let mut registry = KNOWN_FORMATS.lock();
        let format = registry.format_of(fs_type).ok_or(ENODEV)?;
        if format.find(&format.name).is_some() {
            return Ok(());
        }
        format.name
    };
    // If it cannot be loaded another implementation is taken.
    // SAFETY: The name ends with NUL.
    unsafe { bindings::bento_load_module(c"fs-".as_char_ptr(), name.bytes().as_ptr()) };
    Ok(())
}

/// Pins an implementation of the format that `fs_type` stands for: that of the name, or the
/// default.
///
/// # Errors
///
/// `ENODEV` if there is none.
pub(super) fn pin(
    fs_type: *mut bindings::file_system_type,
    name: Option<&ShortName>,
) -> Result<Pinned> {
    if name.is_none() {
        load_default(fs_type)?;
    }
    once_loaded(|loading| {
        let mut registry = KNOWN_FORMATS.lock();
        let format = registry.format_of(fs_type).ok_or(ENODEV)?;
        let format_name = format.name;
        let default = name.copied().unwrap_or(format_name);
        let any = match name {
            Some(_) => None,
            None => format.implementations.iter().flatten().next(),
        };
        let name = format.find(&default).or(any).ok_or(ENODEV)?.name;
        take(format_name, format.find_mut(&name).ok_or(ENODEV)?, loading)
    })
    .map_err(|_| ENODEV)
}

/// Pins the implementation of a name, for a mount whose format `fs_type` stands for.
///
/// # Errors
///
/// `EINVAL` if it is one of another format; `ENOENT` if there is none, or it is going away.
pub(super) fn pin_successor(
    fs_type: *mut bindings::file_system_type,
    name: &ShortName,
) -> Result<Pinned> {
    once_loaded(|loading| {
        let mut registry = KNOWN_FORMATS.lock();
        for (slot, format) in TYPES.iter().zip(registry.formats.iter_mut()) {
            let format_name = format.name;
            if let Some(implementation) = format.find_mut(name) {
                if !is_slot(slot, fs_type) {
                    return Err(EINVAL);
                }
                return take(format_name, implementation, loading);
            }
        }
        Err(ENOENT)
    })
}

/// What is to be known of an implementation.
pub(super) struct Description {
    pub(super) format: ShortName,
    pub(super) version: u32,
    pub(super) state_reads: (u32, u32),
    pub(super) state_writes: u32,
    pub(super) users: u32,
}

/// Describes the implementation of a name.
///
/// # Errors
///
/// `ENOENT` if there is none.
pub(super) fn describe(name: &ShortName) -> Result<Description> {
    let registry = KNOWN_FORMATS.lock();
    for format in &registry.formats {
        if let Some(implementation) = format.find(name) {
            // The table is the module's, which cannot unregister while the lock is held.
            let table = implementation.table;
            return Ok(Description {
                format: format.name,
                version: table.version,
                state_reads: table.state_reads,
                state_writes: table.state_writes,
                users: implementation.users,
            });
        }
    }
    Err(ENOENT)
}

/// Keeps an implementation registered while it lives: a field of the module's type.
///
/// A module with one file system is made by [`module_bento_fs!`](crate::module_bento_fs).
pub struct Registration {
    format: ShortName,
    name: ShortName,
    /// Its directory in sysfs. Dropped by hand: what is dropped by itself is dropped by text of the
    /// module.
    object: ManuallyDrop<Option<ImplementationObject>>,
}

/// Declares a module that is one file system, registered while it is loaded.
///
/// # Examples
///
/// ```ignore
/// kernel::module_bento_fs! {
///     type: MyFileSystem,
///     name: "my_fs",
///     authors: ["Author name"],
///     description: "My file system",
///     license: "GPL",
///     alias: ["fs-myfs"],
/// }
/// ```
#[macro_export]
macro_rules! module_bento_fs {
    (type: $type:ty, $($field:tt)*) => {
        struct FileSystemModule {
            _registration: $crate::bento::Registration,
        }

        impl $crate::Module for FileSystemModule {
            fn init(module: &'static $crate::ThisModule) -> $crate::error::Result<Self> {
                Ok(Self {
                    _registration: $crate::bento::Registration::new::<$type>(module)?,
                })
            }
        }

        $crate::prelude::module! {
            type: FileSystemModule,
            $($field)*
        }
    };
}

impl Registration {
    /// Registers the file system `F`, which `module` holds.
    ///
    /// # Errors
    ///
    /// `EEXIST` if an implementation of that name (of any format), or a file system of another kind
    /// with the name of the format, is there; `ENOSPC` if the table is full; `ENOMEM`; `ENODEV` if
    /// the core did not come up at boot.
    pub fn new<F: FileSystem>(module: &'static ThisModule) -> Result<Self> {
        const {
            assert!(
                name_is_good(F::FORMAT),
                "FORMAT is empty, too long or has a '.'"
            );
            assert!(
                name_is_good(F::NAME),
                "NAME is empty, too long or has a '.'"
            );
            assert!(F::BLOCK_SIZE == 4096, "the core knows blocks of 4096 bytes");
            assert!(F::STATE_SIZE <= STATE_SIZE_MAX, "STATE_SIZE is too large");
        }
        register(&Adapter::<F>::TABLE, module.as_ptr())
    }
}

/// Whether the VFS can take `name` (it refuses one with a '.').
const fn name_is_good(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'.' || bytes[i] == 0 {
            return false;
        }
        i += 1;
    }
    !bytes.is_empty() && bytes.len() <= NAME_LEN
}

/// Registers, and makes the directory. Not generic, so it is text of the core.
fn register(table: &'static Instance, module: *mut bindings::module) -> Result<Registration> {
    READY.as_ref().ok_or(ENODEV)?;
    // Dropped, which unregisters it, if there is no directory for it.
    let mut registration = enter(table, module)?;
    *registration.object = Some(ImplementationObject::new(registration.name)?);
    Ok(registration)
}

/// Enters an implementation into the table.
fn enter(table: &'static Instance, module: *mut bindings::module) -> Result<Registration> {
    let format_name = ShortName::new(table.format)?;
    let name = ShortName::new(table.name)?;
    let mut registry = KNOWN_FORMATS.lock();
    let index = registry
        .formats
        .iter()
        .position(|format| format.name == format_name)
        .or_else(|| {
            registry
                .formats
                .iter()
                .position(|format| format.name == ShortName::EMPTY)
        })
        .ok_or(ENOSPC)?;
    let slot = TYPES.get(index).ok_or(ENOSPC)?;
    if registry
        .formats
        .iter()
        .any(|format| format.find(&name).is_some())
    {
        return Err(EEXIST);
    }
    let format = registry.formats.get_mut(index).ok_or(ENOSPC)?;
    let first = !format.is_registered();
    let free = format
        .implementations
        .iter_mut()
        .find(|place| place.is_none())
        .ok_or(ENOSPC)?;
    *free = Some(Implementation {
        name,
        table,
        module,
        users: 0,
    });
    if first {
        format.name = format_name;
        let fs_type = slot.0.get();
        // SAFETY: The VFS does not know the type, so nobody else uses it. The registry is static,
        // so the name stays where it is.
        unsafe {
            (*fs_type).name = addr_of!(format.name.0).cast();
            (*fs_type).fs_flags = (bindings::FS_REQUIRES_DEV
                | bindings::FS_ALLOW_IDMAP
                | bindings::FS_MGTIME) as c_int;
            (*fs_type).init_fs_context = Some(context::init_fs_context);
            (*fs_type).kill_sb = Some(bindings::kill_block_super);
        }
        // SAFETY: The slot is static and filled in. All code it names is the core's, so it has no
        // owner.
        let result = to_result(unsafe { bindings::register_filesystem(fs_type) });
        if let Err(error) = result {
            format.implementations = [None; IMPLEMENTATIONS];
            return Err(if error == EBUSY { EEXIST } else { error });
        }
    }
    pr_info!(
        "bento: {} (version {}) is an implementation of {}\n",
        table.name,
        table.version,
        table.format
    );
    Ok(Registration {
        format: format_name,
        name,
        object: ManuallyDrop::new(None),
    })
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Before the lock, which who reads a file of it takes.
        drop(self.object.take());
        let mut registry = KNOWN_FORMATS.lock();
        for (slot, format) in TYPES.iter().zip(registry.formats.iter_mut()) {
            if format.name != self.format {
                continue;
            }
            for place in &mut format.implementations {
                if matches!(place, Some(implementation) if implementation.name == self.name) {
                    *place = None;
                }
            }
            if !format.is_registered() {
                // SAFETY: It was registered with the first implementation.
                unsafe { bindings::unregister_filesystem(slot.0.get()) };
            }
        }
    }
}

#[kunit_tests(rust_bento_registry)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(name_is_good("xv6") && name_is_good("xv6-prov"));
        assert!(!name_is_good("") && !name_is_good("a.b"));
        assert!(!name_is_good("a name that is longer than a slot"));
    }

    #[test]
    fn short_names_keep_their_text() -> Result {
        assert_eq!(ShortName::new("xv6")?.as_str(), "xv6");
        assert!(ShortName::new("").is_err());
        assert!(ShortName::new("12345678901234567890123456789012").is_err());
        Ok(())
    }
}
