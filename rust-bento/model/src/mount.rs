// SPDX-License-Identifier: GPL-2.0

//! A mount: what serves it, what an operation touches, and how it goes away.

use crate::{
    gate::{
        Gate,
        Version, //
    },
    module::Module,
    Flaws, //
};
use loom::{
    cell::UnsafeCell,
    sync::{
        atomic::{
            AtomicUsize,
            Ordering::{
                AcqRel,
                Relaxed, //
            },
        },
        Mutex,
        RwLock, //
    },
};
use std::sync; //

/// The life of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Unborn,
    Alive,
    Over,
}

/// What a version keeps in memory. Each has a module of its own.
pub struct Instance {
    /// The module that its text is in.
    pub module: Module,
    life: UnsafeCell<Life>,
}

impl Instance {
    fn new(life: Life) -> Self {
        Self {
            module: Module::new(),
            life: UnsafeCell::new(life),
        }
    }

    fn become_(&self, from: Life, to: Life) {
        self.module.run();
        // SAFETY: loom checks that nobody else looks at it.
        self.life.with_mut(|life| unsafe {
            assert_eq!(*life, from);
            *life = to;
        });
    }

    /// Builds it.
    pub fn stage(&self) {
        self.become_(Life::Unborn, Life::Alive);
    }

    /// Ends it.
    pub fn end(&self) {
        self.become_(Life::Alive, Life::Over);
    }

    /// Lets it do something.
    pub fn work(&self) {
        self.module.run();
        // SAFETY: loom checks that nobody ends it meanwhile.
        assert_eq!(self.life.with(|life| unsafe { *life }), Life::Alive);
    }

    /// Whether it was built and has ended.
    pub fn is_over(&self) -> bool {
        // SAFETY: loom checks that nobody changes it meanwhile.
        self.life.with(|life| unsafe { *life }) == Life::Over
    }
}

/// What a version keeps in an inode.
struct Node {
    generation: u64,
    made_by: usize,
}

/// What `s_umount` guards.
pub struct State {
    /// The mount is being taken down.
    pub dying: bool,
    /// Nothing may change.
    pub frozen: bool,
}

/// A mount.
pub struct Mount {
    pub gate: Gate,
    /// 0 serves first; the others are successors.
    pub instances: [Instance; 3],
    pub upgrading: Mutex<()>,
    pub umount: RwLock<State>,
    /// The directory in sysfs: held shared by who reads or writes a file, exclusively by who
    /// removes it.
    pub directory: RwLock<()>,
    pub flaws: Flaws,
    generation: sync::atomic::AtomicU64,
    /// `s_active`
    active: AtomicUsize,
    /// Under a lock of its own within the gate. It is not loom's, so that the model stays small: what
    /// it guards is only looked at.
    node: sync::Mutex<Node>,
    /// What is on the volume: the number of operations that were done.
    done: sync::atomic::AtomicUsize,
}

impl Mount {
    /// A mount that instance 0 serves.
    pub fn new(flaws: Flaws) -> Self {
        let mount = Self {
            gate: Gate::new(
                Version {
                    instance: 0,
                    generation: 1,
                },
                flaws,
            ),
            instances: [
                Instance::new(Life::Alive),
                Instance::new(Life::Unborn),
                Instance::new(Life::Unborn),
            ],
            upgrading: Mutex::new(()),
            umount: RwLock::new(State {
                dying: false,
                frozen: false,
            }),
            directory: RwLock::new(()),
            flaws,
            generation: sync::atomic::AtomicU64::new(2),
            active: AtomicUsize::new(1),
            node: sync::Mutex::new(Node {
                generation: 1,
                made_by: 0,
            }),
            done: sync::atomic::AtomicUsize::new(0),
        };
        assert!(mount.instances[0].module.try_get());
        mount
    }

    /// A number that no other version has.
    pub fn next_generation(&self) -> u64 {
        match self.flaws.same_generation {
            true => 1,
            false => self.generation.fetch_add(1, Relaxed),
        }
    }

    /// An operation. Gives the instance that did it.
    pub fn operation(&self) -> usize {
        let inside = self.gate.enter();
        let done_by = self.inside(inside.version());
        drop(inside);
        if self.flaws.run_after_leaving {
            self.instances[done_by].module.run();
        }
        done_by
    }

    /// An operation that must not wait. `None` is `EAGAIN`.
    pub fn operation_nowait(&self) -> Option<usize> {
        let inside = self.gate.try_enter()?;
        Some(self.inside(inside.version()))
    }

    fn inside(&self, version: Version) -> usize {
        let instance = &self.instances[version.instance];
        instance.work();
        let mut node = self.node.lock().unwrap();
        if node.generation != version.generation {
            // Attached anew
            *node = Node {
                generation: version.generation,
                made_by: version.instance,
            };
        }
        assert_eq!(node.made_by, version.instance, "a node of another version");
        drop(node);
        self.done.fetch_add(1, Relaxed);
        instance.work();
        version.instance
    }

    /// Operations that were done.
    pub fn done(&self) -> usize {
        self.done.load(Relaxed)
    }

    /// What serves it now.
    pub fn serving(&self) -> usize {
        self.gate.enter().version().instance
    }

    /// Freezes the mount for a while. What serves it does not change meanwhile.
    pub fn freeze(&self) {
        self.umount.write().unwrap().frozen = true;
        let before = self.serving();
        assert_eq!(self.serving(), before, "an upgrade while frozen");
        self.umount.write().unwrap().frozen = false;
    }

    /// `atomic_inc_not_zero(&sb->s_active)`
    pub fn get_active(&self) -> bool {
        self.active
            .fetch_update(AcqRel, Relaxed, |n| (n != 0).then_some(n + 1))
            .is_ok()
    }

    /// `deactivate_super`: whoever is the last takes the mount down.
    pub fn put_active(&self) {
        if self.active.fetch_sub(1, AcqRel) != 1 {
            return;
        }
        let mut state = self.umount.write().unwrap();
        state.dying = true;
        // In put_super: waits for who reads or writes a file there
        drop(self.directory.write().unwrap());
        // Nobody has the mount, so nobody is inside
        let version = self.gate.remove().expect("taken down once");
        let instance = &self.instances[version.instance];
        instance.end();
        instance.module.put();
    }
}
