// SPDX-License-Identifier: GPL-2.0

//! The replacement of the version that serves a mount.
//!
//! Seven steps: find the successor and pin its module; check what can be checked; stage it, which
//! builds it whole while the predecessor serves; close the gate and drain it; hand the state over;
//! switch and open; drop the predecessor and put its module. Until the switch each step is undone
//! by a `Drop`, so an error at any point leaves the predecessor serving.
//!
//! While the gate is closed nothing is allocated, read or waited for, and nothing is done that
//! grows with the number of inodes or blocks. What versions keep in inodes is plain data tagged
//! with their generation, so it need not be visited: each inode is attached anew when it is first
//! used.
//!
//! # Locks
//!
//! The mount's `upgrading`, then `s_umount` shared, then the closed gate. Those who wait at the
//! gate may hold anything else that lies outside of it.

use super::{
    gate::Version,
    history::Report,
    instance::Loaded,
    registry::{
        self,
        Pinned,
        ShortName, //
    },
    state::STATE_HEADER,
    super_block::{
        next_generation,
        CoreSuper,
        TreeShape, //
    },
    Credits,
    StateReader,
    StateWriter, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::atomic::Relaxed,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    types::NotThreadSafe, //
};

/// The first pause between two tries, in milliseconds. Each is twice the one before.
const FIRST_BACKOFF_MS: i64 = 10;

/// How long it is waited, after the switch, for those who were at the gate, in milliseconds.
const WAITERS_MS: u32 = 100;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Check everything that can be checked, change nothing.
    DryRun,
    /// Replace the version.
    Replace,
}

/// Replaces the version that serves `sb` by the implementation `name`. The caller keeps the mount
/// from going away, and holds no lock.
///
/// # Errors
///
/// - `ENOENT`: there is no implementation of this name; `EINVAL`: it is one of another format.
/// - `EPROTONOSUPPORT`: it does not read the state that the predecessor writes; `EBADMSG`: it was
///   not whole, or the successor did not understand it.
/// - `EOPNOTSUPP`: it has other features or limits, or does not know an option of the mount; or the
///   kernel was built without `CONFIG_BENTO_UPGRADE`.
/// - `EBUSY`: an operation stayed in the gate, try after try; or the mount is frozen.
/// - `EIO`: the journal was aborted, or the mount was shut down; `ESHUTDOWN`: it is going away.
/// - `ENOMEM`; `EINTR`: the task is to die; what the successor says.
pub(super) fn upgrade(sb: &CoreSuper, name: &ShortName, mode: Mode, report: &mut Report) -> Result {
    let turn = sb.upgrading.lock();
    *report = Report::new();
    report.to.0 = *name;
    sb.history.lock().under_way = mode == Mode::Replace;
    let result = run(sb, name, mode, report);
    let mut history = sb.history.lock();
    history.under_way = false;
    if mode == Mode::Replace {
        history.add(report, result);
    }
    drop(history);
    drop(turn);
    if mode == Mode::Replace {
        tell(sb, report, result);
    }
    result
}

/// Says in the log and by an event what has happened.
fn tell(sb: &CoreSuper, report: &Report, result: Result) {
    let (from, to) = (report.from.0.as_str(), report.to.0.as_str());
    match result {
        Ok(()) => pr_info!(
            "bento ({}): {from} (version {}) was replaced by {to} (version {}), in {} us\n",
            sb.name(),
            report.from.1,
            report.to.1,
            report.pause / 1_000
        ),
        Err(error) => pr_info!(
            "bento ({}): {from} was not replaced by {to}: {error:?}\n",
            sb.name()
        ),
    }
    if let Some(object) = sb.object.as_ref() {
        object.tell(report, result);
    }
}

fn run(sb: &CoreSuper, name: &ShortName, mode: Mode, report: &mut Report) -> Result {
    // Who is inside is not known.
    if cfg!(not(CONFIG_BENTO_UPGRADE)) {
        return Err(EOPNOTSUPP);
    }
    let begin = Instant::<Monotonic>::now();
    let writes = {
        let serving = sb.serving();
        report.from = (*serving.short_name(), serving.table().version);
        serving.table().state_writes
    };
    // SAFETY: The super block is valid; its type is constant.
    let successor = registry::pin_successor(unsafe { (*sb.raw()).s_type }, name)?;
    report.to.1 = successor.table().version;
    check_serving(sb)?;
    let (first, last) = successor.table().state_reads;
    if !(first..=last).contains(&writes) {
        return Err(EPROTONOSUPPORT);
    }
    let stager = Stager::new(sb);
    check_volume(sb, &successor)?;
    if mode == Mode::DryRun {
        return Ok(());
    }
    let mut next = Idle::stage(sb, successor)?;
    drop(stager);
    let mut room = room_for_state(sb)?;
    report.stage = nanos(begin.elapsed());
    replace(sb, &mut next, &mut room, report)?;
    // What is idle now is the predecessor: this ends it, and puts its module.
    drop(next);
    Ok(())
}

fn nanos(time: Delta) -> u64 {
    time.as_nanos().max(0) as u64
}

/// Whether the mount is in a state in which its version may be replaced.
fn check_serving(sb: &CoreSuper) -> Result {
    // SAFETY: The super block is valid.
    let (dying, frozen) = unsafe {
        (
            bindings::bento_sb_is_dying(sb.raw()),
            bindings::bento_sb_is_frozen(sb.raw()),
        )
    };
    if dying {
        return Err(ESHUTDOWN);
    }
    // Damage, a shutdown, an aborted journal.
    sb.check_writable().map_err(|_| EIO)?;
    if frozen {
        return Err(EBUSY);
    }
    Ok(())
}

/// Whether the successor takes the volume for what it is, and knows the options of the mount.
fn check_volume(sb: &CoreSuper, successor: &Pinned) -> Result {
    let table = successor.table();
    if sb.given.check(table.options).is_err() {
        return Err(EOPNOTSUPP);
    }
    let info = (table.probe)(sb.volume()).map_err(|error| match error {
        // What a probe says of features that it does not know.
        EINVAL => EOPNOTSUPP,
        error => error,
    })?;
    if info != *sb.info()? {
        return Err(EOPNOTSUPP);
    }
    Ok(())
}

/// Memory for the state, so that none is needed while the gate is closed.
fn room_for_state(sb: &CoreSuper) -> Result<KVVec<u8>> {
    let size = sb.serving().table().state_size + STATE_HEADER;
    let mut room = KVVec::with_capacity(size, GFP_KERNEL)?;
    room.extend_with(size, 0, GFP_KERNEL)?;
    Ok(room)
}

/// While this lives, what the task reports as damage is not held against the mount: a successor
/// that is being made has said so.
struct Stager<'a> {
    sb: &'a CoreSuper,
    _task: NotThreadSafe,
}

impl<'a> Stager<'a> {
    fn new(sb: &'a CoreSuper) -> Self {
        sb.set_stager(true);
        Self {
            sb,
            _task: NotThreadSafe,
        }
    }
}

impl Drop for Stager<'_> {
    fn drop(&mut self) {
        self.sb.set_stager(false);
    }
}

/// A version that serves nobody: a successor before the switch, the predecessor after it. Ends when
/// dropped.
///
/// # Invariants
///
/// Nobody else has a copy of `loaded`, and `pinned` holds its module.
struct Idle {
    loaded: Loaded,
    credits: Credits,
    pinned: Pinned,
}

impl Idle {
    /// Makes a successor.
    fn stage(sb: &CoreSuper, pinned: Pinned) -> Result<Self> {
        // SAFETY: `pinned` holds the module, and `drop` ends the version before it lets go of it.
        let loaded = unsafe { Loaded::stage(pinned.table(), sb.volume(), &sb.given) }?;
        let credits = loaded.credits();
        // INVARIANT: Just made.
        let this = Self {
            loaded,
            credits,
            pinned,
        };
        if credits.largest() > sb.journal()?.max_credits()
            || TreeShape::of(&credits) != *sb.tree()?
        {
            return Err(EOPNOTSUPP);
        }
        Ok(this)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // SAFETY: By the type invariant nobody uses it. The module is put after this, by `pinned`.
        unsafe { self.loaded.unmount() };
    }
}

/// `s_umount`, held shared: the mount is neither frozen, thawed, remounted nor taken down.
///
/// # Invariants
///
/// This task holds it.
struct Umount<'a> {
    sb: &'a CoreSuper,
    _task: NotThreadSafe,
}

impl<'a> Umount<'a> {
    /// Takes it.
    ///
    /// # Errors
    ///
    /// `EINTR` if the task is to die.
    fn lock(sb: &'a CoreSuper) -> Result<Self> {
        // SAFETY: The super block is valid, and stays so: the caller keeps the mount.
        to_result(unsafe { bindings::down_read_killable(&raw mut (*sb.raw()).s_umount) })?;
        // INVARIANT: Just taken.
        Ok(Self {
            sb,
            _task: NotThreadSafe,
        })
    }
}

impl Drop for Umount<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::up_read(&raw mut (*self.sb.raw()).s_umount) };
    }
}

/// While this lives a debug kernel warns if the task sleeps.
struct NonBlock(NotThreadSafe);

impl NonBlock {
    fn new() -> Self {
        // SAFETY: Always allowed; ended in `drop`, by the same task.
        unsafe { bindings::bento_non_block_start() };
        Self(NotThreadSafe)
    }
}

impl Drop for NonBlock {
    fn drop(&mut self) {
        // SAFETY: Begun in `new`.
        unsafe { bindings::bento_non_block_end() };
    }
}

/// Tries until the gate has drained. `next` is the successor before, and the predecessor after.
fn replace(sb: &CoreSuper, next: &mut Idle, room: &mut [u8], report: &mut Report) -> Result {
    let begin = Instant::<Monotonic>::now();
    let tries = sb.limits.tries.load(Relaxed);
    let total = Delta::from_millis(sb.limits.total_ms.load(Relaxed).into());
    let mut backoff = Delta::from_millis(FIRST_BACKOFF_MS);
    while !attempt(sb, next, room, report)? {
        report.retries += 1;
        if report.retries >= tries || begin.elapsed() + backoff > total {
            return Err(EBUSY);
        }
        fsleep(backoff);
        // SAFETY: Always allowed.
        if unsafe { bindings::bento_fatal_signal_pending() } {
            return Err(EINTR);
        }
        backoff *= 2;
    }
    Ok(())
}

/// Closes the gate once. `false` if it had to be opened again because someone stayed inside.
fn attempt(sb: &CoreSuper, next: &mut Idle, room: &mut [u8], report: &mut Report) -> Result<bool> {
    // SAFETY: The caller holds `upgrading`, and does not come here without `CONFIG_BENTO_UPGRADE`.
    let mut ready = unsafe { sb.gate.ready(report.retries == 0) };
    let umount = Umount::lock(sb)?;
    check_serving(sb)?;
    let mut closed = match ready.close(sb.limits.drain_ns()) {
        Ok(closed) => closed,
        Err(_) => return Ok(false),
    };
    report.drain = nanos(closed.drained());
    let old = closed.version().ok_or(ESHUTDOWN)?;
    let quiet = NonBlock::new();
    let begin = Instant::<Monotonic>::now();
    hand_over(&old.loaded, &mut next.loaded, room)?;
    report.transfer = nanos(begin.elapsed());
    let begin = Instant::<Monotonic>::now();
    closed.switch(Version {
        loaded: next.loaded,
        generation: next_generation(),
        credits: next.credits,
    });
    // INVARIANT: `next` is the one that has just ceased to serve; its module's reference follows.
    next.loaded = old.loaded;
    let start = closed.start();
    drop(quiet);
    drop(closed);
    report.switch = nanos(begin.elapsed());
    report.pause = nanos(start.elapsed());
    core::mem::swap(&mut *sb.serving(), &mut next.pinned);
    drop(umount);
    drop(ready);
    report.longest_wait = longest_wait(sb);
    Ok(true)
}

/// Hands the state of one version to another. Neither serves now.
fn hand_over(old: &Loaded, new: &mut Loaded, room: &mut [u8]) -> Result {
    let (from, to) = (old.table(), new.table());
    // The predecessor has said too little of how much it hands over.
    let too_long = |error| if error == E2BIG { EBADMSG } else { error };
    let mut writer = StateWriter::new(room, from.format, from.state_writes).map_err(too_long)?;
    // SAFETY: The state is mounted by the type invariant of `Loaded`.
    unsafe { (from.export)(old.state(), &mut writer) }.map_err(too_long)?;
    let state = writer.finish().map_err(too_long)?;
    let reader = StateReader::new(state, to.format)?;
    // SAFETY: As above; nobody but the caller has the successor.
    unsafe { (to.import)(new.state(), &reader) }?;
    reader.finish()
}

/// Waits a while for those who waited at the gate to be inside, and gives the longest time.
fn longest_wait(sb: &CoreSuper) -> u64 {
    for _ in 0..WAITERS_MS {
        if !sb.gate.has_waiters() {
            break;
        }
        fsleep(Delta::from_millis(1));
    }
    sb.gate.longest_wait()
}
