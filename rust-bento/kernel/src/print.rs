// SPDX-License-Identifier: GPL-2.0

//! The log: `pr_err!` and its like.
//!
//! Messages go to standard error, unless the thread that logs has a [`Capture`].

use core::fmt;
use std::{
    cell::RefCell,
    sync::atomic::{
        AtomicU8,
        Ordering, //
    },
};

/// How grave a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// An error.
    Err = 3,
    /// A warning.
    Warn = 4,
    /// Normal but of note.
    Notice = 5,
    /// Information.
    Info = 6,
    /// For whoever debugs.
    Debug = 7,
}

static MAX_LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

thread_local! {
    static CAPTURED: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
}

/// Shows messages up to this level. At first [`Level::Info`].
pub fn set_max_level(level: Level) {
    MAX_LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Takes the messages of this thread while it exists, so that a test can look at them.
pub struct Capture(());

impl Capture {
    /// Begins to take the messages of this thread.
    pub fn start() -> Self {
        CAPTURED.set(Some(Vec::new()));
        Self(())
    }

    /// The messages since the start, or the last call.
    pub fn take(&self) -> Vec<(Level, String)> {
        CAPTURED.with_borrow_mut(|captured| captured.replace(Vec::new()).unwrap_or_default())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        CAPTURED.set(None);
    }
}

/// Logs a message. Call it through the macros.
pub fn log(level: Level, args: fmt::Arguments<'_>) {
    let text = args.to_string();
    let text = text.trim_end();
    CAPTURED.with_borrow_mut(|captured| match captured {
        Some(captured) => captured.push((level, text.to_owned())),
        None if level as u8 <= MAX_LEVEL.load(Ordering::Relaxed) => eprintln!("{text}"),
        None => {}
    });
}

/// Logs an error.
#[macro_export]
macro_rules! pr_err {
    ($($arg:tt)*) => {
        $crate::print::log($crate::print::Level::Err, ::core::format_args!($($arg)*))
    };
}

/// Logs a warning.
#[macro_export]
macro_rules! pr_warn {
    ($($arg:tt)*) => {
        $crate::print::log($crate::print::Level::Warn, ::core::format_args!($($arg)*))
    };
}

/// Logs something of note.
#[macro_export]
macro_rules! pr_notice {
    ($($arg:tt)*) => {
        $crate::print::log($crate::print::Level::Notice, ::core::format_args!($($arg)*))
    };
}

/// Logs information.
#[macro_export]
macro_rules! pr_info {
    ($($arg:tt)*) => {
        $crate::print::log($crate::print::Level::Info, ::core::format_args!($($arg)*))
    };
}

/// Logs what helps to debug.
#[macro_export]
macro_rules! pr_debug {
    ($($arg:tt)*) => {
        $crate::print::log($crate::print::Level::Debug, ::core::format_args!($($arg)*))
    };
}

/// Formatting arguments, as the kernel's `fmt!`.
#[macro_export]
macro_rules! fmt {
    ($($arg:tt)*) => { ::core::format_args!($($arg)*) };
}

/// A condition that is checked while compiling.
#[macro_export]
macro_rules! static_assert {
    ($condition:expr $(, $message:literal)?) => {
        const _: () = ::core::assert!($condition $(, $message)?);
    };
}
