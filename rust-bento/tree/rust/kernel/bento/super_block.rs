// SPDX-License-Identifier: GPL-2.0

//! The core's part of a super block: what a mount has beside `struct super_block`.

use super::{
    claims::SpaceSets,
    context::MountContext,
    damage::Damage,
    entered::Entered,
    gate::{
        Gate,
        Generation,
        Version, //
    },
    history::{
        History,
        Limits, //
    },
    instance::Loaded,
    journal::Journal,
    options::Options,
    registry::{
        Pinned,
        ShortName, //
    },
    sysfs,
    volume::Volume,
    writeback::Publisher,
    Credits,
    VolumeInfo, //
};
use crate::{
    bindings,
    error::to_result,
    new_mutex, new_spinlock,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::mutex::MutexGuard,
        Mutex,
        SetOnce,
        SpinLock, //
    },
};

pub(super) use super::mount::fill_super;

/// The longest time between commits, in seconds.
pub(super) const MAX_COMMIT_SECONDS: u32 = 300;

/// What to do when damage is met.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum OnError {
    /// Fail the operation, go on.
    Continue = 0,
    /// Let nothing change any more.
    RemountReadOnly = 1,
    /// Stop the machine.
    Panic = 2,
}

impl OnError {
    /// What `word` means in `errors=word`.
    pub(super) fn from_word(word: &str) -> Result<Self> {
        Ok(match word {
            "continue" => Self::Continue,
            "remount-ro" => Self::RemountReadOnly,
            "panic" => Self::Panic,
            _ => return Err(EINVAL),
        })
    }

    /// The word for it.
    pub(super) fn word(self) -> &'static CStr {
        match self {
            Self::Continue => c"continue",
            Self::RemountReadOnly => c"remount-ro",
            Self::Panic => c"panic",
        }
    }

    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Continue,
            2 => Self::Panic,
            _ => Self::RemountReadOnly,
        }
    }
}

/// The form of mapping trees, which space is reserved by. Fixed for the time of a mount.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TreeShape {
    /// See [`Credits::tree_depth`].
    pub(super) depth: u32,
    /// See [`Credits::half_node`].
    pub(super) half_node: u32,
}

impl TreeShape {
    /// The form that `credits` are for.
    pub(super) fn of(credits: &Credits) -> Self {
        Self {
            depth: credits.tree_depth,
            half_node: credits.half_node,
        }
    }
}

/// A mount. Lives from `fill_super` to `put_super`, longer than any inode of it.
///
/// # Invariants
///
/// `sb` is the super block whose `s_fs_info` points here.
#[pin_data]
pub(super) struct CoreSuper {
    sb: *mut bindings::super_block,
    /// Size of the device in blocks.
    blocks: u64,
    /// Keeps the module of the version that serves the mount. Changed with `s_umount` held shared.
    #[pin]
    serving: Mutex<Pinned>,
    #[pin]
    pub(super) gate: Gate,
    /// Held for the whole of an upgrade: one at a time.
    #[pin]
    pub(super) upgrading: Mutex<()>,
    /// The task that makes a successor, which cannot do harm to the mount; 0 if there is none.
    stager: Atomic<usize>,
    /// What upgrades there were.
    #[pin]
    pub(super) history: SpinLock<History>,
    /// How long an upgrade may try.
    pub(super) limits: Limits,
    /// The mount's directory in sysfs.
    pub(super) object: SetOnce<sysfs::MountObject>,
    #[pin]
    publisher: Publisher,
    #[pin]
    space: SpaceSets,
    pub(super) journal: SetOnce<Journal>,
    pub(super) info: SetOnce<VolumeInfo>,
    pub(super) tree: SetOnce<TreeShape>,
    /// Options that were left to the implementation, as they were given.
    pub(super) given: Options,
    on_error: Atomic<u32>,
    commit_seconds: Atomic<u32>,
    discard: Atomic<bool>,
    /// May be written to: set while `start_writing` and `stop_writing` say so, and not by what the
    /// VFS has in its flags.
    writing: Atomic<bool>,
    /// Zero, or the error that changes get since `stop_writing`. Not `SB_RDONLY`, which belongs to
    /// who holds `s_umount`: a mount that gets it while it is frozen can never be thawed.
    stopped: Atomic<i32>,
    #[pin]
    pub(super) damage: Damage,
    /// An inode without links could not be freed.
    orphans: Atomic<bool>,
}

// SAFETY: `sb` is used by C functions that lock for themselves.
unsafe impl Send for CoreSuper {}
// SAFETY: As above.
unsafe impl Sync for CoreSuper {}

impl CoreSuper {
    /// The core's part of `sb`, whose block size has been set.
    ///
    /// # Safety
    ///
    /// `sb` is valid for as long as the value lives.
    pub(super) unsafe fn new(
        sb: *mut bindings::super_block,
        blocks: u64,
        pinned: Pinned,
        context: &mut MountContext,
    ) -> impl PinInit<Self, Error> + use<> {
        let given = core::mem::replace(&mut context.options, Options::new());
        let on_error = context.on_error.unwrap_or(OnError::RemountReadOnly);
        let commit = context.commit.unwrap_or(0);
        let discard = context.discard.unwrap_or(false);
        try_pin_init!(Self {
            sb,
            blocks,
            serving <- new_mutex!(pinned, "bento_serving"),
            gate <- Gate::new(),
            upgrading <- new_mutex!((), "bento_upgrading"),
            stager: Atomic::new(0),
            history <- new_spinlock!(History::new(), "bento_history"),
            limits: Limits::new(),
            object: SetOnce::new(),
            publisher <- Publisher::new(),
            space <- SpaceSets::new(),
            journal: SetOnce::new(),
            info: SetOnce::new(),
            tree: SetOnce::new(),
            given,
            on_error: Atomic::new(on_error as u32),
            commit_seconds: Atomic::new(commit),
            discard: Atomic::new(discard),
            writing: Atomic::new(false),
            stopped: Atomic::new(0),
            damage <- Damage::new(),
            orphans: Atomic::new(false),
        }? Error)
    }

    /// The core's part of a super block.
    ///
    /// # Safety
    ///
    /// `sb` is a Bento mount's, between `fill_super` and `put_super` during `'a`.
    pub(super) unsafe fn from_raw<'a>(sb: *mut bindings::super_block) -> &'a Self {
        // SAFETY: By this function's requirement.
        unsafe { &*(*sb).s_fs_info.cast::<Self>() }
    }

    /// The `struct super_block`.
    pub(super) fn raw(&self) -> *mut bindings::super_block {
        self.sb
    }

    /// The block device.
    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        // SAFETY: `sb` is valid by the type invariant; the device is constant while mounted.
        unsafe { (*self.sb).s_bdev }
    }

    /// The volume, as file systems see it.
    pub(super) fn volume(&self) -> &Volume {
        Volume::of(self)
    }

    /// Size of the device in blocks.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The name of the device, for messages.
    pub(super) fn name(&self) -> &str {
        // SAFETY: `s_id` is a string that is constant once the device is open.
        unsafe { CStr::from_char_ptr((&raw const (*self.sb).s_id).cast()) }
            .to_str()
            .unwrap_or("?")
    }

    /// Whether the mount is read-only, for users or because it was stopped.
    pub(super) fn is_read_only(&self) -> bool {
        self.is_mounted_read_only() || self.check_writable().is_err()
    }

    /// Whether a user mounted it read-only: all that was changed before is on disk then, unless it
    /// was stopped.
    pub(super) fn is_mounted_read_only(&self) -> bool {
        // SAFETY: `sb` is valid by the type invariant; this reads one word.
        let flags = unsafe { (&raw const (*self.sb).s_flags).read_volatile() };
        flags & bindings::SB_RDONLY as c_ulong != 0
    }

    /// Whether changes are still taken; the VFS asks for `SB_RDONLY`.
    ///
    /// # Errors
    ///
    /// `EIO` after a shutdown, `EROFS` after damage was met or the journal gave up.
    pub(super) fn check_writable(&self) -> Result {
        to_result(self.stopped.load(Relaxed))?;
        match self.journal.as_ref() {
            Some(journal) if journal.is_aborted() => Err(EROFS),
            _ => Ok(()),
        }
    }

    /// Whether files may be changed. The VFS asks for `SB_RDONLY` when a file is opened, but a
    /// remount that is forced leaves files open for writing.
    ///
    /// # Errors
    ///
    /// As [`CoreSuper::check_writable`]; `EROFS` after such a remount.
    pub(super) fn check_writing(&self) -> Result {
        self.check_writable()?;
        if !self.is_writing() {
            return Err(EROFS);
        }
        Ok(())
    }

    /// What is known of the volume.
    ///
    /// # Errors
    ///
    /// `EIO` before the volume was probed.
    pub(super) fn info(&self) -> Result<&VolumeInfo> {
        self.info.as_ref().ok_or(EIO)
    }

    /// The form of mapping trees.
    pub(super) fn tree(&self) -> Result<&TreeShape> {
        self.tree.as_ref().ok_or(EIO)
    }

    /// What `of` takes from the credits of the version that serves the mount, and the generation of
    /// that version. Enters the gate, and has left it again.
    ///
    /// # Errors
    ///
    /// `EIO` before the first version was installed.
    pub(super) fn with_credits<R>(
        &self,
        of: impl FnOnce(&Credits) -> R,
    ) -> Result<(Generation, R)> {
        let inside = self.gate.enter();
        let version = inside.version().ok_or(EIO)?;
        Ok((version.generation, of(&version.credits)))
    }

    /// The journal.
    ///
    /// # Errors
    ///
    /// `EROFS` if the mount has none: its device is read-only.
    pub(super) fn journal(&self) -> Result<&Journal> {
        self.journal.as_ref().ok_or(EROFS)
    }

    /// Free space, and who has claims on it.
    pub(super) fn space(&self) -> &SpaceSets {
        &self.space
    }

    /// What publishes data that has been written.
    pub(super) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Notes that an inode without links stays on the volume: it is not clean then.
    pub(super) fn note_orphan(&self) {
        self.orphans.store(true, Relaxed);
    }

    /// Whether there is such an inode.
    pub(super) fn has_orphans(&self) -> bool {
        self.orphans.load(Relaxed)
    }

    /// What is known of damage.
    pub(super) fn damage(&self) -> &Damage {
        &self.damage
    }

    /// The implementation, with its module. It stays while the guard lives.
    pub(super) fn serving(&self) -> MutexGuard<'_, Pinned> {
        self.serving.lock()
    }

    /// The name of the implementation.
    pub(super) fn implementation(&self) -> ShortName {
        *self.serving().short_name()
    }

    /// Says that this task makes a successor (or does so no more).
    pub(super) fn set_stager(&self, stages: bool) {
        self.stager
            .store(if stages { this_task() } else { 0 }, Relaxed);
    }

    /// Whether this task makes a successor.
    pub(super) fn is_stager(&self) -> bool {
        self.stager.load(Relaxed) == this_task()
    }

    /// Whether freed blocks are to be discarded.
    pub(super) fn discard(&self) -> bool {
        self.discard.load(Relaxed)
    }

    /// Sets whether freed blocks are to be discarded.
    pub(super) fn set_discard(&self, discard: bool) {
        self.discard.store(discard, Relaxed);
    }

    /// Seconds between commits; 0 stands for jbd2's default.
    pub(super) fn commit_seconds(&self) -> u32 {
        self.commit_seconds.load(Relaxed)
    }

    /// Sets the seconds between commits.
    pub(super) fn set_commit_seconds(&self, seconds: u32) {
        self.commit_seconds.store(seconds, Relaxed);
    }

    /// What to do when damage is met.
    pub(super) fn on_error(&self) -> OnError {
        OnError::from_number(self.on_error.load(Relaxed))
    }

    /// Sets what to do when damage is met.
    pub(super) fn set_on_error(&self, on_error: OnError) {
        self.on_error.store(on_error as u32, Relaxed);
    }

    /// Notes whether the volume may be written to.
    pub(super) fn set_writing(&self, writing: bool) {
        self.writing.store(writing, Relaxed);
    }

    /// Whether the volume may be written to.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.load(Relaxed)
    }

    /// To be called where a task is about to wait for an inode, a folio, write-back or a commit: a
    /// debug kernel warns if it is inside the gate or holds a handle.
    pub(super) fn assert_outside(&self) {
        self.gate.assert_left();
        #[cfg(CONFIG_BENTO_DEBUG)]
        // SAFETY: It looks at the current task.
        unsafe {
            bindings::bento_assert_no_handle()
        };
    }

    /// Enters the gate, waiting while it is closed.
    pub(super) fn enter(&self) -> Result<Entered<'_>> {
        Entered::new(self, self.gate.enter())
    }

    /// Lets nothing change on the volume any more: changes get `error`, and the journal keeps
    /// `why`.
    pub(super) fn stop_writing(&self, why: Error, error: Error) {
        let Some(journal) = self.journal.as_ref() else {
            return;
        };
        if self.stopped.cmpxchg(0, error.to_errno(), Relaxed).is_err() {
            return;
        }
        pr_err!("bento ({}): the volume becomes read-only\n", self.name());
        journal.abort(why);
    }

    /// Takes the first version.
    ///
    /// # Safety
    ///
    /// Nobody has entered the gate, and nobody does until this returns. The table's module is
    /// pinned.
    pub(super) unsafe fn install(&self, loaded: Loaded) {
        // SAFETY: By this function's requirement.
        unsafe {
            self.gate.install(Version {
                loaded,
                generation: next_generation(),
                credits: loaded.credits(),
            })
        };
    }
}

/// The address of the current task, which tells it from others.
fn this_task() -> usize {
    core::ptr::from_ref(&**kernel::current!()).addr()
}

static GENERATION: Atomic<u64> = Atomic::new(0);

/// A generation that was never used before.
pub(super) fn next_generation() -> Generation {
    GENERATION.fetch_add(1, Relaxed) + 1
}
