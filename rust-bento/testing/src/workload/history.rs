// SPDX-License-Identifier: GPL-2.0

//! What a volume may hold after a crash.
//!
//! Operations become durable in their order: what a crash leaves of names and attributes is how
//! they stood after some operation. Bytes of files are written at once and in any order, each
//! sector by itself. What has been promised is a lower bound of both.

use super::{
    model::{
        Id,
        Model, //
    },
    op::Target,
    picture::{
        show,
        Picture, //
    },
    Verdict, //
};
use std::{
    collections::BTreeMap,
    ops::Range, //
};

/// What must be there after a crash, as indices of a [`History`].
#[derive(Clone, Debug, Default)]
pub struct Promise {
    /// Names and attributes are not older than this.
    names: usize,
    /// No file's bytes are older than this.
    all: usize,
    /// The bytes of these files are not older.
    bytes: BTreeMap<Id, usize>,
}

/// The states that operations went through.
#[derive(Clone, Debug)]
pub struct History {
    states: Vec<Model>,
    /// How much the device had done when each was reached.
    ends: Vec<usize>,
    /// When names or attributes of an inode changed last.
    touched: BTreeMap<Id, usize>,
    promises: Vec<Promise>,
}

impl History {
    /// Begins with what is durable.
    pub fn new(state: Model, end: usize) -> Self {
        Self {
            states: vec![state],
            ends: vec![end],
            touched: BTreeMap::new(),
            promises: vec![Promise::default()],
        }
    }

    /// What should be there now.
    pub fn now(&self) -> &Model {
        &self.states[self.states.len() - 1]
    }

    /// An operation that began at `start` has come to its end at `end`. Between, a crash can show
    /// `steps`.
    pub fn push(&mut self, steps: Vec<Model>, state: Model, start: usize, end: usize) {
        for step in steps {
            self.states.push(step);
            self.ends.push(start);
        }
        let index = self.states.len();
        let before = self.now();
        let mut touched = Vec::new();
        for (id, node) in state.nodes() {
            let same = |old: &super::model::Node| old.same_but_bytes(node);
            if !before.nodes().get(id).is_some_and(same) {
                touched.push(*id);
            }
        }
        // What has changed its name has been changed too; what lies below it has not.
        let (old, new) = (before.names(), state.names());
        touched.extend(old.symmetric_difference(&new).map(|(_, _, id)| *id));
        self.touched
            .extend(touched.into_iter().map(|id| (id, index)));
        self.states.push(state);
        self.ends.push(end);
    }

    /// `fsync` or `fdatasync` has promised a file. Gives the number of the promise.
    pub fn promise(&mut self, target: &Target) -> usize {
        let now = self.states.len() - 1;
        let mut promise = self.last_promise().clone();
        if let Ok(Some(id)) = self.now().target(target) {
            let touched = self.touched.get(&id).copied().unwrap_or(0);
            promise.names = promise.names.max(touched);
            promise.bytes.insert(id, now);
        }
        self.promises.push(promise);
        self.promises.len() - 1
    }

    /// `sync` has promised everything. Gives the number of the promise.
    pub fn promise_all(&mut self) -> usize {
        let now = self.states.len() - 1;
        self.promises.push(Promise {
            names: now,
            all: now,
            bytes: BTreeMap::new(),
        });
        self.promises.len() - 1
    }

    fn last_promise(&self) -> &Promise {
        &self.promises[self.promises.len() - 1]
    }

    /// Finds what a crash has left, which came when the device had done `end`, after the promise
    /// of number `promised`. `unit` is the number of bytes that are written at once. Gives the
    /// state with the bytes that were found.
    pub fn settle(
        &self,
        picture: &Picture,
        end: usize,
        promised: usize,
        unit: usize,
    ) -> Verdict<Model> {
        let promise = &self.promises[promised];
        // The first operation that had not begun.
        let begun = self.ends.partition_point(|&at| at < end) + 1;
        let last = begun.min(self.states.len()).max(promise.names + 1);
        let mut model = self.settle_among(picture, promise, last, unit)?;
        model.close_all();
        Ok(model)
    }

    /// As [`History::settle`], where an operation failed halfway: it shows one of the last states,
    /// from `first` on, or steps between them.
    pub fn settle_halfway(&self, picture: &Picture, first: usize) -> Verdict<Model> {
        let promise = Promise {
            names: first,
            all: first,
            bytes: BTreeMap::new(),
        };
        self.settle_among(picture, &promise, self.states.len(), 1)
    }

    /// Number of states.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// There is one at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn settle_among(
        &self,
        picture: &Picture,
        promise: &Promise,
        last: usize,
        unit: usize,
    ) -> Verdict<Model> {
        let mut nearest = String::new();
        let mut found = None;
        for index in (promise.names..last).rev() {
            match picture.same_names(&self.states[index]) {
                Ok(()) => {
                    found = Some(index);
                    break;
                }
                Err(how) if nearest.is_empty() => nearest = how,
                Err(_) => {}
            }
        }
        let Some(index) = found else {
            return Err(format!(
                "none of the states {:?} of {}: in the last one {nearest}",
                promise.names..last,
                self.states.len()
            ));
        };
        let mut model = self.states[index].clone();
        for (path, id) in model.paths() {
            let content = picture.0[&path].node.content();
            let floor = promise.bytes.get(&id).copied().unwrap_or(promise.all);
            self.check_bytes(
                id,
                content,
                floor.max(promise.all)..last.max(floor + 1),
                unit,
            )
            .map_err(|how| format!("{}: {how}", show(&path)))?;
            if content != model.node(id).content() {
                model.set_content(id, content.to_vec());
            }
        }
        Ok(model)
    }

    /// Each unit of a file must be one that could stand there at some time.
    fn check_bytes(&self, id: Id, content: &[u8], times: Range<usize>, unit: usize) -> Verdict {
        let states = &self.states[times.start..times.end.min(self.states.len())];
        let versions: Vec<&[u8]> = states
            .iter()
            .filter_map(|state| state.nodes().get(&id).map(|node| node.content()))
            .collect();
        if versions.iter().any(|version| *version == content) {
            return Ok(());
        }
        for (at, found) in content.chunks(unit).enumerate() {
            let start = at * unit;
            if !(0..versions.len()).any(|newest| could_stand(&versions[..=newest], start, found)) {
                return Err(format!(
                    "bytes from {start} on never stood there in {times:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Whether a unit that was written when the last of these versions was the newest can hold these
/// bytes.
///
/// POSIX promises nothing of what is not synced. `data=ordered`, which ext4 has and Bento follows,
/// promises that no size and no mapping is durable before the data behind it: so none of the bytes
/// are another file's. But bytes in a block that is mapped already are written in place, and need
/// not wait for the transaction which shortened the file before. If that is lost the old size
/// shows, behind the end of the version that was written, what the write left in the block: each
/// byte of the newest version that reached there, or zero, since a block is made of zeroes, and
/// what punches and zeroes a range does so behind the end too. Any other byte is wrong, also one of
/// a version that was overwritten.
pub(super) fn could_stand(versions: &[&[u8]], start: usize, found: &[u8]) -> bool {
    let mut known = 0;
    for (age, version) in versions.iter().rev().enumerate() {
        let data = version.get(start..).unwrap_or_default();
        let data = &data[..data.len().min(found.len())];
        if known < data.len() {
            let mut bytes = found[known..].iter().zip(&data[known..]);
            if !bytes.all(|(found, byte)| found == byte || age > 0 && *found == 0) {
                return false;
            }
            known = data.len();
        }
    }
    found[known..].iter().all(|byte| *byte == 0)
}
