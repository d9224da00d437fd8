// SPDX-License-Identifier: GPL-2.0

//! Modules: text that may be run while somebody has pinned it.

use loom::{
    cell::UnsafeCell,
    sync::Mutex, //
};

struct Pins {
    number: usize,
    going: bool,
}

/// A module.
pub struct Module {
    pins: Mutex<Pins>,
    /// Whether the text is there.
    text: UnsafeCell<bool>,
}

impl Module {
    /// A module that was just loaded.
    pub fn new() -> Self {
        Self {
            pins: Mutex::new(Pins {
                number: 0,
                going: false,
            }),
            text: UnsafeCell::new(true),
        }
    }

    /// Pins it, unless it is going.
    pub fn try_get(&self) -> bool {
        let mut pins = self.pins.lock().unwrap();
        if !pins.going {
            pins.number += 1;
        }
        !pins.going
    }

    /// Undoes [`Module::try_get`].
    pub fn put(&self) {
        let mut pins = self.pins.lock().unwrap();
        pins.number = pins.number.checked_sub(1).expect("put more often than got");
    }

    /// How many have it pinned.
    pub fn pins(&self) -> usize {
        self.pins.lock().unwrap().number
    }

    /// Runs its text.
    pub fn run(&self) {
        // SAFETY: loom checks that nobody unloads it meanwhile.
        assert!(
            self.text.with(|text| unsafe { *text }),
            "text that was unloaded"
        );
    }

    /// Unloads it, as `rmmod` does. `false` if it is pinned.
    pub fn unload(&self) -> bool {
        let mut pins = self.pins.lock().unwrap();
        if pins.number != 0 {
            return false;
        }
        pins.going = true;
        drop(pins);
        // SAFETY: loom checks that nobody runs it.
        self.text.with_mut(|text| unsafe { *text = false });
        true
    }
}

impl Default for Module {
    fn default() -> Self {
        Self::new()
    }
}
