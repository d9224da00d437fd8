// SPDX-License-Identifier: GPL-2.0

//! The seven steps.

use crate::{
    gate::Version,
    mount::{
        Instance,
        Mount, //
    },
};

/// Where the successor fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fails {
    /// Nowhere.
    #[default]
    No,
    /// It is of another format.
    Check,
    /// There is no memory.
    Stage,
    /// It does not understand the state.
    Import,
}

/// Why there was no upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The module is going, or gone.
    NotFound,
    /// The successor has failed.
    Failed,
    /// The gate did not drain, or the mount is frozen.
    Busy,
    /// The mount is going away.
    ShutDown,
}

/// A module that is pinned.
struct Pinned<'a>(&'a Instance);

impl<'a> Pinned<'a> {
    fn new(instance: &'a Instance) -> Result<Self, Error> {
        match instance.module.try_get() {
            true => Ok(Self(instance)),
            false => Err(Error::NotFound),
        }
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.0.module.put();
    }
}

/// An instance that serves nobody. It ends when this is dropped, before its module is put.
struct Idle<'a> {
    instance: &'a Instance,
    _pinned: Pinned<'a>,
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.instance.end();
    }
}

impl Mount {
    /// Replaces what serves the mount by instance `to`. The caller keeps the mount.
    pub fn upgrade(&self, to: usize, fails: Fails) -> Result<(), Error> {
        let _turn = self.upgrading.lock().unwrap();
        // 1. find, 2. check
        let successor = &self.instances[to];
        let pinned = Pinned::new(successor)?;
        if fails == Fails::Check {
            return Err(Error::Failed);
        }
        // 3. stage
        if fails == Fails::Stage {
            return Err(Error::Failed);
        }
        successor.stage();
        let next = Idle {
            instance: successor,
            _pinned: pinned,
        };
        // 4. close and drain
        let state = self.umount.read().unwrap();
        if state.dying {
            return Err(Error::ShutDown);
        }
        if state.frozen {
            return Err(Error::Busy);
        }
        let state = (!self.flaws.no_umount_lock).then_some(state);
        if self.flaws.early_put {
            self.instances[0].module.put();
        }
        let mut closed = self.gate.close().ok_or(Error::Busy)?;
        // 5. hand over
        successor.work();
        if fails == Fails::Import {
            return Err(Error::Failed);
        }
        // 6. switch and open
        let old = closed.switch(Version {
            instance: to,
            generation: self.next_generation(),
        });
        drop(closed);
        drop(state);
        // What serves keeps its pin; its predecessor's is given up with it
        std::mem::forget(next);
        // 7. drop the predecessor, put its module
        let old = &self.instances[old.instance];
        old.end();
        if !self.flaws.early_put {
            old.module.put();
        }
        Ok(())
    }

    /// Writing to the file `upgrade` in sysfs. `worker` gets the reference to put.
    pub fn store_upgrade(&self, to: usize, worker: impl FnOnce()) -> Result<(), Error> {
        // kernfs holds the file while it is written
        let protection = self.directory.read().unwrap();
        if self.flaws.no_active {
            return self.upgrade(to, Fails::No);
        }
        if !self.get_active() {
            return Err(Error::ShutDown);
        }
        // sysfs_break_active_protection
        drop(protection);
        let result = self.upgrade(to, Fails::No);
        // sysfs_unbreak_active_protection
        let _protection = self.directory.read().unwrap();
        match self.flaws.put_in_store {
            true => self.put_active(),
            false => worker(),
        }
        result
    }
}
