// SPDX-License-Identifier: GPL-2.0

//! `/sys/fs/bento`: implementations, and mounts with what is known of their upgrades.
//!
//! One value a file; see Documentation/ABI/testing/sysfs-fs-bento.

use super::{
    history::{
        History,
        Limits,
        Report, //
    },
    kobject::{
        self,
        Attribute,
        Directory,
        Subject,
        Target, //
    },
    registry::{
        self,
        ShortName, //
    },
    super_block::CoreSuper,
    table::Table,
    upgrade::{
        self,
        Mode, //
    },
};
use crate::{
    bindings,
    fmt::Write,
    impl_has_work, new_work,
    prelude::*,
    str::{
        CString,
        Formatter, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SetOnce, //
    },
    types::Opaque,
    workqueue::{
        self,
        Work,
        WorkItem, //
    },
};

/// The directories that are always there.
struct Root {
    implementations: *mut bindings::kobject,
    mounts: *mut bindings::kset,
}

// SAFETY: kobjects do their own locking, and these stay for ever.
unsafe impl Send for Root {}
// SAFETY: As above.
unsafe impl Sync for Root {}

static ROOT: SetOnce<Root> = SetOnce::new();

/// Events of a mount are of the subsystem "bento".
static EVENTS: bindings::kset_uevent_ops = bindings::kset_uevent_ops {
    filter: None,
    name: Some(subsystem),
    uevent: None,
};

/// # Safety
///
/// None: it looks at nothing.
unsafe extern "C" fn subsystem(_kobject: *const bindings::kobject) -> *const c_char {
    c"bento".as_char_ptr()
}

/// Makes the directories that are always there.
pub(super) fn init() -> Result {
    // SAFETY: `fs_kobj` is there since before the first initcall; the names are static.
    let root = unsafe {
        let bento = bindings::kobject_create_and_add(c"bento".as_char_ptr(), bindings::fs_kobj);
        if bento.is_null() {
            return Err(ENOMEM);
        }
        Root {
            implementations: bindings::kobject_create_and_add(
                c"implementations".as_char_ptr(),
                bento,
            ),
            mounts: bindings::kset_create_and_add(c"mounts".as_char_ptr(), &EVENTS, bento),
        }
    };
    if root.implementations.is_null() || root.mounts.is_null() {
        return Err(ENOMEM);
    }
    ROOT.populate(root);
    Ok(())
}

/// An implementation, for its directory.
struct Implementation(ShortName);

static IMPLEMENTATION_OPS: bindings::sysfs_ops = kobject::operations::<Implementation>();
static IMPLEMENTATION_KIND: Table<bindings::kobj_type> =
    kobject::kind::<Implementation>(&IMPLEMENTATION_OPS);

impl Subject for Implementation {
    const KIND: &'static Table<bindings::kobj_type> = &IMPLEMENTATION_KIND;
}

/// What is known of the implementation.
fn known(target: &Target<Implementation>) -> Result<registry::Description> {
    registry::describe(&target.subject.0).map_err(|_| ENODEV)
}

static IMPLEMENTATION_FILES: [Attribute<Implementation>; 5] = [
    Attribute::new(c"format", |of, to| {
        Ok(to.write_str(known(of)?.format.as_str())?)
    }),
    Attribute::new(c"version", |of, to| {
        Ok(write!(to, "{}", known(of)?.version)?)
    }),
    Attribute::new(c"state_reads", |of, to| {
        let (first, last) = known(of)?.state_reads;
        Ok(write!(to, "{first}-{last}")?)
    }),
    Attribute::new(c"state_writes", |of, to| {
        Ok(write!(to, "{}", known(of)?.state_writes)?)
    }),
    Attribute::new(c"users", |of, to| Ok(write!(to, "{}", known(of)?.users)?)),
];

/// The directory of an implementation, while this lives.
pub(super) struct ImplementationObject {
    _directory: Directory<Implementation>,
}

impl ImplementationObject {
    /// Makes the directory.
    pub(super) fn new(name: ShortName) -> Result<Self> {
        let root = ROOT.as_ref().ok_or(ENODEV)?;
        // SAFETY: The parent stays for ever.
        let directory = unsafe {
            Directory::new(
                core::ptr::null_mut(),
                root.implementations,
                name.as_str(),
                Implementation(name),
                &IMPLEMENTATION_FILES,
            )
        }?;
        Ok(Self {
            _directory: directory,
        })
    }
}

/// A mount, for its directory.
///
/// # Invariants
///
/// The mount is there while a file of the directory is read or written: it removes the directory
/// first when it is taken down.
struct Mount(*const CoreSuper);

// SAFETY: `CoreSuper` is `Sync`.
unsafe impl Send for Mount {}
// SAFETY: As above.
unsafe impl Sync for Mount {}

static MOUNT_OPS: bindings::sysfs_ops = kobject::operations::<Mount>();
static MOUNT_KIND: Table<bindings::kobj_type> = kobject::kind::<Mount>(&MOUNT_OPS);

impl Subject for Mount {
    const KIND: &'static Table<bindings::kobj_type> = &MOUNT_KIND;
}

/// The mount that a file is of.
fn mount(target: &Target<Mount>) -> &CoreSuper {
    // SAFETY: By the type invariant of `Mount`; files are only read and written by way of `show`
    // and `store`, which hold the directory.
    unsafe { &*target.subject.0 }
}

fn history(target: &Target<Mount>) -> History {
    *mount(target).history.lock()
}

/// Writes a number of the last upgrade.
fn last(of: &Target<Mount>, to: &mut Formatter<'_>, which: fn(&Report) -> u64) -> Result {
    Ok(write!(to, "{}", which(&history(of).last))?)
}

/// Sets a limit.
fn set_limit(limit: &Atomic<u32>, text: &[u8], most: u32) -> Result {
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    let value = text.parse::<u32>().map_err(|_| EINVAL)?;
    if value == 0 || value > most {
        return Err(EINVAL);
    }
    limit.store(value, Relaxed);
    Ok(())
}

static MOUNT_FILES: [Attribute<Mount>; 17] = [
    Attribute::new(c"implementation", |of, to| {
        Ok(to.write_str(mount(of).implementation().as_str())?)
    }),
    Attribute::new(c"version", |of, to| {
        Ok(write!(to, "{}", mount(of).serving().table().version)?)
    }),
    Attribute::writable(
        c"upgrade",
        |of, to| Ok(to.write_str(mount(of).implementation().as_str())?),
        store_upgrade,
    ),
    Attribute::new(c"state", |of, to| Ok(to.write_str(state(mount(of)))?)),
    Attribute::new(c"upgrades", |of, to| {
        Ok(write!(to, "{}", history(of).upgrades)?)
    }),
    Attribute::new(c"refusals", |of, to| {
        Ok(write!(to, "{}", history(of).refusals)?)
    }),
    Attribute::new(c"last_error", |of, to| {
        Ok(write!(to, "{}", history(of).last_error)?)
    }),
    Attribute::new(c"last_stage_ns", |of, to| last(of, to, |last| last.stage)),
    Attribute::new(c"last_drain_ns", |of, to| last(of, to, |last| last.drain)),
    Attribute::new(c"last_transfer_ns", |of, to| {
        last(of, to, |last| last.transfer)
    }),
    Attribute::new(c"last_switch_ns", |of, to| last(of, to, |last| last.switch)),
    Attribute::new(c"last_pause_ns", |of, to| last(of, to, |last| last.pause)),
    Attribute::new(c"last_longest_wait_ns", |of, to| {
        last(of, to, |last| last.longest_wait)
    }),
    Attribute::new(c"last_retries", |of, to| {
        last(of, to, |last| last.retries.into())
    }),
    Attribute::writable(
        c"drain_limit_us",
        |of, to| Ok(write!(to, "{}", mount(of).limits.drain_us.load(Relaxed))?),
        |of, _, text| set_limit(&mount(of).limits.drain_us, text, Limits::DRAIN_US_MAX),
    ),
    Attribute::writable(
        c"try_limit",
        |of, to| Ok(write!(to, "{}", mount(of).limits.tries.load(Relaxed))?),
        |of, _, text| set_limit(&mount(of).limits.tries, text, Limits::TRIES_MAX),
    ),
    Attribute::writable(
        c"total_limit_ms",
        |of, to| Ok(write!(to, "{}", mount(of).limits.total_ms.load(Relaxed))?),
        |of, _, text| set_limit(&mount(of).limits.total_ms, text, Limits::TOTAL_MS_MAX),
    ),
];

/// The word for what a mount is doing.
fn state(sb: &CoreSuper) -> &'static str {
    // SAFETY: The super block is valid.
    let frozen = unsafe { bindings::bento_sb_is_frozen(sb.raw()) };
    match sb.check_writable() {
        Err(_) => "shutdown",
        _ if sb.history.lock().under_way => "upgrading",
        _ if frozen => "frozen",
        _ if sb.is_read_only() => "readonly",
        _ => "serving",
    }
}

/// A reference that keeps a mount from being taken down. Whoever puts the last one takes the mount
/// down, and with it the file that is being written to: so it is put when the task has left that
/// file, on its way back to user space. An umount that comes after the write finds it put.
///
/// # Invariants
///
/// Once it is to be put, it holds a count of `s_active` of `sb`.
#[pin_data]
struct Active {
    sb: *mut bindings::super_block,
    /// For a task that goes back to user space.
    #[pin]
    head: Opaque<bindings::callback_head>,
    /// For others.
    #[pin]
    work: Work<Self>,
}

// SAFETY: A count of `s_active` may be put by any task.
unsafe impl Send for Active {}
// SAFETY: It is only used by who puts it.
unsafe impl Sync for Active {}

impl Active {
    /// Puts it once this task is back from the file.
    fn put_later(self: Pin<KBox<Self>>) {
        // SAFETY: It is not moved: it stays where it is until it is made a box again.
        let this = KBox::into_raw(unsafe { Pin::into_inner_unchecked(self) });
        // SAFETY: `this` is valid and nobody else's. The task is the current one; if the work is
        // taken, `put_active` gets it once.
        let taken = unsafe {
            let head = Opaque::cast_into(&raw const (*this).head);
            (*head).func = Some(put_active);
            let task = bindings::get_current();
            (*task).flags & bindings::PF_KTHREAD == 0
                && bindings::task_work_add(task, head, bindings::task_work_notify_mode_TWA_RESUME)
                    == 0
        };
        if !taken {
            // SAFETY: It came from a pinned box, and was not given away.
            let this = unsafe { Pin::new_unchecked(KBox::from_raw(this)) };
            workqueue::system_long().enqueue(this);
        }
    }
}

/// Called by a task on its way back to user space.
///
/// # Safety
///
/// `head` is that of an [`Active`] that [`Active::put_later`] gave away.
unsafe extern "C" fn put_active(head: *mut bindings::callback_head) {
    // SAFETY: By this function's requirement it is part of one, which came from a box and is this
    // function's now.
    let this = unsafe {
        KBox::from_raw(crate::container_of!(Opaque::cast_from(head), Active, head).cast_mut())
    };
    // SAFETY: By the type invariant.
    unsafe { bindings::deactivate_super(this.sb) };
}

impl_has_work! {
    impl HasWork<Self> for Active { self.work }
}

impl WorkItem for Active {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        // SAFETY: By the type invariant.
        unsafe { bindings::deactivate_super(this.sb) };
    }
}

/// Replaces the version by the one that is written.
fn store_upgrade(of: &Target<Mount>, file: &Attribute<Mount>, text: &[u8]) -> Result {
    // The mode of the file asks who opens it, not who writes.
    // SAFETY: Always allowed.
    if !unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) } {
        return Err(EPERM);
    }
    let name = ShortName::new(core::str::from_utf8(text).map_err(|_| EINVAL)?)?;
    let sb = mount(of);
    let active = KBox::pin_init(
        pin_init!(Active {
            sb: sb.raw(),
            head <- Opaque::zeroed(),
            work <- new_work!("bento_active"),
        }),
        GFP_KERNEL,
    )?;
    // SAFETY: The super block is valid while the directory is held.
    // INVARIANT: Taken here. Until then nothing but this function's memory has the value, and it
    // does nothing when dropped.
    if !unsafe { bindings::bento_get_active(sb.raw()) } {
        return Err(ESHUTDOWN);
    }
    // A mount that is still being made may fail, and then nothing but this directory, which waits
    // for its writers, keeps it.
    // SAFETY: As above.
    let result = if unsafe { bindings::bento_sb_is_dying(sb.raw()) } {
        Err(ESHUTDOWN)
    } else {
        // SAFETY: This is the `store` of that file, and `active` keeps the mount, which was made.
        let _unprotected = unsafe { of.unprotect(file) };
        upgrade::upgrade(sb, &name, Mode::Replace, &mut Report::new())
    };
    active.put_later();
    result
}

/// The directory of a mount.
pub(super) struct MountObject {
    directory: Directory<Mount>,
}

impl MountObject {
    /// Makes the directory. The mount calls [`MountObject::remove`] before it goes.
    pub(super) fn new(sb: &CoreSuper) -> Result<Self> {
        let root = ROOT.as_ref().ok_or(ENODEV)?;
        // SAFETY: The set stays for ever.
        let directory = unsafe {
            Directory::new(
                root.mounts,
                core::ptr::null_mut(),
                sb.name(),
                Mount(sb),
                &MOUNT_FILES,
            )
        }?;
        Ok(Self { directory })
    }

    /// Removes the directory.
    pub(super) fn remove(&self) {
        self.directory.remove();
    }

    /// Sends an event of an upgrade, or of one that was refused.
    pub(super) fn tell(&self, report: &Report, result: Result) {
        // Without memory there is no event; the upgrade stands.
        let _ = self.send(report, result);
    }

    fn send(&self, report: &Report, result: Result) -> Result {
        let what = match result {
            Ok(()) => "upgrade",
            Err(_) => "refused",
        };
        let last = match result {
            Ok(()) => CString::try_from_fmt(fmt!("BENTO_PAUSE_NS={}", report.pause)),
            Err(error) => CString::try_from_fmt(fmt!("BENTO_ERROR={}", -error.to_errno())),
        }?;
        let what = CString::try_from_fmt(fmt!("BENTO_EVENT={what}"))?;
        let from = CString::try_from_fmt(fmt!("BENTO_FROM={}", report.from.0.as_str()))?;
        let to = CString::try_from_fmt(fmt!("BENTO_TO={}", report.to.0.as_str()))?;
        let mut variables = [
            what.as_char_ptr().cast_mut(),
            from.as_char_ptr().cast_mut(),
            to.as_char_ptr().cast_mut(),
            last.as_char_ptr().cast_mut(),
            core::ptr::null_mut(),
        ];
        // SAFETY: The kobject is there, and the list of strings ends with a null pointer.
        unsafe {
            bindings::kobject_uevent_env(
                self.directory.raw(),
                bindings::kobject_action_KOBJ_CHANGE,
                variables.as_mut_ptr(),
            )
        };
        Ok(())
    }
}
