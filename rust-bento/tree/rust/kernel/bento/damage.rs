// SPDX-License-Identifier: GPL-2.0

//! Damage that is met while a volume is mounted: logged once, recorded on the volume, and followed
//! as `errors=` asks.
//!
//! It is met inside the gate, mostly with locks and a handle held. So there it is only noted. What
//! `errors=` asks for follows when the gate has been left, and a worker of the mount's publisher
//! records the damage in a transaction of its own.

use super::{
    mount,
    super_block::{
        CoreSuper,
        OnError, //
    },
};
use crate::{
    bindings,
    fmt,
    prelude::*,
    static_lock_class,
    str::CStrExt as _,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};
use core::fmt::Write as _;

/// Different reports of damage that a mount logs before it says no more.
const MAX_REPORTS: usize = 16;

/// What a mount knows of damage.
#[pin_data]
pub(super) struct Damage {
    /// Fingerprints of the reports that were logged; zero is an empty place.
    logged: [Atomic<u64>; MAX_REPORTS],
    /// Damage was met since the volume was mounted.
    met: Atomic<bool>,
    /// Damage was met, and `errors=` has not been followed yet.
    pending: Atomic<bool>,
    /// There was more to log than there are places.
    overflown: Atomic<bool>,
    /// Records it on the volume.
    #[pin]
    work: Opaque<bindings::work_struct>,
}

impl Damage {
    /// None so far.
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            logged: [const { Atomic::new(0) }; MAX_REPORTS],
            met: Atomic::new(false),
            pending: Atomic::new(false),
            overflown: Atomic::new(false),
            work <- Opaque::ffi_init(|slot: *mut bindings::work_struct| {
                // SAFETY: `slot` is valid for writes and stays in place until the publisher's
                // queue, which alone runs it, is destroyed; the class is static.
                unsafe {
                    bindings::init_work_with_key(
                        slot,
                        Some(record),
                        false,
                        c"bento_damage".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
        }? Error)
    }

    /// Whether damage was met since the volume was mounted.
    pub(super) fn is_met(&self) -> bool {
        self.met.load(Relaxed)
    }

    /// What to do with a report of this fingerprint, which is remembered.
    fn judge(&self, fingerprint: u64) -> Verdict {
        for place in &self.logged {
            let old = match place.load(Relaxed) {
                0 => match place.cmpxchg(0, fingerprint, Relaxed) {
                    Ok(_) => return Verdict::Log,
                    Err(other) => other,
                },
                old => old,
            };
            if old == fingerprint {
                return Verdict::Nothing;
            }
        }
        match self.overflown.xchg(true, Relaxed) {
            false => Verdict::LogNoMore,
            true => Verdict::Nothing,
        }
    }
}

/// What to do with a report.
enum Verdict {
    /// Log it: it is a new one.
    Log,
    /// Log that no more are logged.
    LogNoMore,
    /// Nothing.
    Nothing,
}

/// FNV-1a of what is written to it: the same damage, met again, gives the same text.
struct Fingerprint(u64);

impl Fingerprint {
    fn of(what: fmt::Arguments<'_>) -> u64 {
        let mut fingerprint = Self(0xcbf2_9ce4_8422_2325);
        // Writing to it cannot fail.
        let _ = fingerprint.write_fmt(what);
        fingerprint.0.max(1)
    }
}

impl core::fmt::Write for Fingerprint {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        Ok(())
    }
}

impl CoreSuper {
    /// Logs damage the first time it is met, and remembers that `errors=` asks for something.
    pub(super) fn report_damage(&self, what: fmt::Arguments<'_>) {
        if self.is_stager() {
            // The version that serves the mount has not met it, and the successor is refused.
            pr_err!("bento ({}): a successor says: {}\n", self.name(), what);
            return;
        }
        let damage = self.damage();
        match damage.judge(Fingerprint::of(what)) {
            Verdict::Log => pr_err!("bento ({}): damaged: {}\n", self.name(), what),
            Verdict::LogNoMore => pr_err!(
                "bento ({}): further reports of damage are left out\n",
                self.name()
            ),
            Verdict::Nothing => (),
        }
        damage.met.store(true, Relaxed);
        damage.pending.store(true, Relaxed);
    }

    /// Follows `errors=` if damage was met inside the gate, which has been left.
    pub(super) fn after_leaving(&self) {
        let pending = &self.damage().pending;
        if pending.load(Relaxed) && pending.xchg(false, Relaxed) {
            self.follow_on_error();
        }
    }

    #[cold]
    fn follow_on_error(&self) {
        match self.on_error() {
            // SAFETY: `init_work_with_key` was called for the work, which stays in place.
            OnError::Continue => unsafe { self.publisher().queue(self.damage().work.get()) },
            // The journal keeps the error, from where the next mount takes it.
            OnError::RemountReadOnly => self.stop_writing(EUCLEAN, EROFS),
            OnError::Panic => {
                self.stop_writing(EUCLEAN, EROFS);
                // Not Rust's `panic!`, which ends the task alone, with its handle and locks held.
                // SAFETY: The format takes one string, which is constant once the device is open.
                unsafe {
                    bindings::panic(
                        c"bento (%s): damaged, and errors=panic".as_char_ptr(),
                        &raw const (*self.raw()).s_id,
                    )
                }
            }
        }
    }
}

/// Records damage on the volume.
///
/// # Safety
///
/// Called by the workqueue with the work of a [`Damage`] that is part of a mounted [`CoreSuper`].
unsafe extern "C" fn record(work: *mut bindings::work_struct) {
    // SAFETY: By this function's requirement; the mount waits for its publisher's queue.
    let sb = unsafe {
        let damage = crate::container_of!(Opaque::cast_from(work.cast_const()), Damage, work);
        &*crate::container_of!(damage, CoreSuper, damage)
    };
    // A volume that is frozen, or not written to yet or any more, is marked by those who change
    // that. Waiting for the thaw here could keep it from coming.
    // SAFETY: The super block is live.
    if !sb.is_writing() || !unsafe { bindings::sb_start_intwrite_trylock(sb.raw()) } {
        return;
    }
    if let Err(error) = mount::set_error(sb) {
        pr_err!(
            "bento ({}): damage could not be recorded ({error:?})\n",
            sb.name()
        );
    }
    // SAFETY: Taken above.
    unsafe { bindings::sb_end_intwrite(sb.raw()) };
}
