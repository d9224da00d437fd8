// SPDX-License-Identifier: GPL-2.0

//! Runs operations on a mount and on the model, and compares.

use super::{
    history::History,
    model::{
        link_target,
        pattern,
        Model,
        Reply, //
    },
    op::*,
    picture::{
        differs,
        look,
        Picture, //
    },
    Verdict, //
};
use kernel::{
    bento::{
        FileSystem,
        Ino,
        Kind, //
    },
    error::{
        code::*,
        Error,
        Result, //
    },
    user::{
        device::{
            Device,
            MemDevice,
            RecordingDevice, //
        },
        fault::{
            Fault,
            Point, //
        },
        Mount,
        MountOptions,
        NewNode,
        SeekFrom,
        SetAttr,
        StatFs, //
    },
};
use std::sync::Arc;

/// With more free blocks than this no operation of a workload may meet `ENOSPC`: the longest needs
/// fewer.
const PLENTY: u64 = 600;

/// Where workloads run.
pub struct World {
    /// An empty volume, not mounted.
    pub start: MemDevice,
    /// What is free there.
    pub fresh: StatFs,
    /// Says what is wrong on a device that is not mounted, after a crash too.
    pub fsck: fn(&dyn Device) -> Verdict,
    /// What is done to a device after a crash before anything looks at it. A test of the tests
    /// breaks the recovery here.
    pub tamper: fn(&MemDevice),
    /// Whether devices flush when they say so.
    pub honest: bool,
}

impl World {
    /// Over an empty volume.
    pub fn new<F: FileSystem>(start: MemDevice, fsck: fn(&dyn Device) -> Verdict) -> Verdict<Self> {
        let fresh = mount::<F>(Arc::new(start.clone()))?.statfs();
        Ok(Self {
            start,
            fresh,
            fsck,
            tamper: |_| (),
            honest: true,
        })
    }

    fn record(&self, start: &MemDevice) -> Arc<RecordingDevice> {
        Arc::new(match self.honest {
            true => RecordingDevice::new(start),
            false => RecordingDevice::lying(start),
        })
    }

    /// Empties a mount: all that it held is free again, and nothing is wrong.
    pub fn empty<F: FileSystem>(&self, mount: Mount<F>, device: &dyn Device) -> Verdict {
        remove_below(&mount, mount.root())?;
        mount.sync().map_err(|error| format!("sync: {error:?}"))?;
        let left = mount.statfs();
        if left != self.fresh {
            return Err(format!("leaked: {left:?}, not {:?}", self.fresh));
        }
        complaints(&mount)?;
        mount.umount().map_err(|e| format!("umount: {e:?}"))?;
        (self.fsck)(device).map_err(|how| format!("emptied, then fsck: {how}"))
    }
}

fn remove_below<F: FileSystem>(mount: &Mount<F>, dir: Ino) -> Verdict {
    let list = mount.list(dir).map_err(|e| format!("list: {e:?}"))?;
    for entry in list {
        let removed = match entry.kind {
            Kind::Directory => {
                remove_below(mount, entry.ino)?;
                mount.rmdir(dir, &entry.name)
            }
            _ => mount.unlink(dir, &entry.name),
        };
        removed.map_err(|e| format!("removal: {e:?}"))?;
    }
    Ok(())
}

/// Mounts, or says why not.
pub fn mount<F: FileSystem>(device: Arc<dyn Device>) -> Verdict<Mount<F>> {
    Mount::mount(device, &MountOptions::default()).map_err(|error| format!("mount: {error:?}"))
}

/// What the core says against the file system.
pub fn complaints<F: FileSystem>(mount: &Mount<F>) -> Verdict {
    match (mount.breaches(), mount.damage()) {
        (0, 0) => Ok(()),
        (breaches, damage) => Err(format!("{breaches} breaches, {damage} times damage")),
    }
}

/// A mount and a model to which the same is done.
pub struct Player<'w, F: FileSystem> {
    world: &'w World,
    device: Arc<RecordingDevice>,
    mount: Option<Mount<F>>,
    pins: [Option<Ino>; SLOTS],
    history: History,
    /// The number of the newest promise.
    promised: usize,
    inject: Option<Injected>,
    steps: usize,
}

impl<'w, F: FileSystem> Player<'w, F> {
    /// On an empty volume.
    pub fn new(world: &'w World) -> Verdict<Self> {
        Self::on(world, &world.start, Model::default())
    }

    /// On a volume that holds what a model says.
    pub fn on(world: &'w World, start: &MemDevice, model: Model) -> Verdict<Self> {
        let device = world.record(start);
        let mount = mount(device.clone())?;
        Ok(Self {
            world,
            history: History::new(model, device.events()),
            device,
            mount: Some(mount),
            pins: [None; SLOTS],
            promised: 0,
            inject: None,
            steps: 0,
        })
    }

    /// The device.
    pub fn device(&self) -> &RecordingDevice {
        &self.device
    }

    /// What was done to the device, and what was to be expected.
    pub fn into_parts(self) -> (Arc<RecordingDevice>, History) {
        (self.device, self.history)
    }

    /// There is one but for the moment in which it is replaced.
    fn mount(&self) -> &Mount<F> {
        self.mount.as_ref().expect("not mounted")
    }

    /// What should be there.
    pub fn model(&self) -> &Model {
        self.history.now()
    }

    /// Does an operation to both, and says how they differ.
    pub fn step(&mut self, op: &Op) -> Verdict {
        self.steps += 1;
        let done = match op {
            Op::Remount => self.remount(),
            Op::Crash(seed) => {
                let left = self.device.crash(u64::from(*seed));
                self.crash(left, 512)
            }
            Op::Inject(fault) => {
                self.inject = Some(*fault);
                Ok(())
            }
            _ => self.run(op),
        };
        done.and_then(|()| match self.steps % 4 {
            0 => self.check(),
            _ => Ok(()),
        })
        .map_err(|how| format!("{op:?}: {how}"))
    }

    /// Compares all that can be seen.
    pub fn check(&self) -> Verdict {
        complaints(self.mount())?;
        Picture::of(self.mount())?.same_as(self.model())?;
        for (slot, ino) in (0..).zip(self.pins) {
            let (Some(ino), Some(id)) = (ino, self.model().open(slot)) else {
                continue;
            };
            let seen = look(self.mount(), ino).map_err(|e| format!("open file: {e:?}"))?;
            let node = self.model().node(id);
            let bytes = differs(seen.node.content(), node.content());
            if !seen.node.same_but_bytes(node) || bytes.is_some() {
                return Err(format!("the file open in {slot} differs at {bytes:?}"));
            }
        }
        Ok(())
    }

    /// Ends: what should be there is, and when it is removed nothing is left.
    pub fn finish(mut self) -> Verdict {
        self.check()?;
        self.remount()?;
        self.check()?;
        let mount = self.mount.take().ok_or("not mounted")?;
        self.world.empty(mount, &self.device)
    }

    fn remount(&mut self) -> Verdict {
        for ino in core::mem::take(&mut self.pins).into_iter().flatten() {
            self.mount().unpin(ino, 1);
        }
        complaints(self.mount())?;
        let mount = self.mount.take().ok_or("not mounted")?;
        mount.umount().map_err(|e| format!("umount: {e:?}"))?;
        (self.world.fsck)(&self.device).map_err(|how| format!("fsck: {how}"))?;
        let mut model = self.model().clone();
        model.close_all();
        self.begin(&self.device.content(), model)
    }

    /// Goes on with what is on a device.
    fn begin(&mut self, content: &MemDevice, model: Model) -> Verdict {
        let inject = self.inject;
        *self = Self {
            inject,
            steps: self.steps,
            ..Self::on(self.world, content, model)?
        };
        Ok(())
    }

    /// Goes on with what a crash has left, of which `unit` bytes are written at once.
    fn crash(&mut self, left: MemDevice, unit: usize) -> Verdict {
        let model = judge::<F>(
            self.world,
            &left,
            &self.history,
            (self.device.events(), self.promised),
            unit,
        )?;
        self.begin(&left, model)
    }

    fn run(&mut self, op: &Op) -> Verdict {
        let start = self.device.events();
        let fault = self.inject.take().map(|fault| match fault {
            Injected::Allocation(n) => (Point::Allocation, n),
            Injected::Read(n) => (Point::Read, n),
            Injected::Access(n) => (Point::Access, n),
            Injected::Store(n) => (Point::Store, n),
        });
        let (result, met) = {
            let guard = fault.map(|(point, n)| Fault::at(point, n.into()));
            let result = self.act(op);
            let met = guard.is_some_and(|guard| guard.happened());
            (result, fault.filter(|_| met).map(|(point, _)| point))
        };
        let before = self.history.len() - 1;
        let mut next = self.model().clone();
        let expected = next.apply(op);
        let full = self.is_full();
        match (&result, &expected) {
            (Ok(Reply::Count(done)), Ok(Reply::Count(all))) if done < all => {
                if met.is_none() && !full {
                    return Err(format!("{done} bytes of {all}"));
                }
                next = self.model().clone();
                let _ = next.apply(&shortened(op, *done as u32));
            }
            (Ok(Reply::At(at)), _) | (Ok(_), Ok(Reply::At(at))) => {
                self.check_place(op, Ok(*at))?;
            }
            (Err(error), Ok(Reply::At(_))) if met.is_none() => {
                self.check_place(op, Err(*error))?;
                return Ok(());
            }
            (Err(ENOSPC), Ok(_)) if full => return self.halfway(op, next, start, before),
            (Err(_), _) if met.is_some_and(|point| point != Point::Store) => {
                // Where the model fails too, this is another error that came before.
                return self.halfway(op, next, start, before);
            }
            (Err(_), _) if met.is_some() => {}
            (result, expected) if result == expected => {}
            (result, expected) => {
                return Err(format!("{}, not {}", tell(result), tell(expected)));
            }
        }
        self.push(op, next, start);
        if met == Some(Point::Store) {
            // Either nothing was stored, or the journal has ended and the volume is as it was.
            let log = self.device.recorded();
            let left = log.crashes().state(log.len(), |_| true);
            self.pins = [None; SLOTS];
            return self.crash(left, 4096);
        }
        if result.is_ok() {
            match op {
                Op::Fsync(target) | Op::Fdatasync(target) => {
                    self.promised = self.history.promise(target);
                }
                Op::Sync => self.promised = self.history.promise_all(),
                _ => return Ok(()),
            }
            self.device.mark(self.promised as u64);
        }
        Ok(())
    }

    fn push(&mut self, op: &Op, next: Model, start: usize) {
        let steps = match op {
            Op::Write(target, ..) | Op::Append(target, ..) => match self.model().target(target) {
                Ok(Some(id)) => self.model().steps_to(&next, id),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        self.history.push(steps, next, start, self.device.events());
    }

    /// An operation has failed and may have done a part: takes what is there for what should be,
    /// if it lies between.
    fn halfway(&mut self, op: &Op, next: Model, start: usize, before: usize) -> Verdict {
        self.push(op, next, start);
        let picture = Picture::of(self.mount())?;
        let mut model = self
            .history
            .settle_halfway(&picture, before)
            .map_err(|how| format!("failed, and now {how}"))?;
        // The open files are those of the mount: to open and to close does not fail halfway.
        for (slot, ino) in (0..).zip(self.pins) {
            if let (Some(ino), Some(id)) = (ino, model.open(slot)) {
                let seen = look(self.mount(), ino).map_err(|e| format!("open file: {e:?}"))?;
                model.set_content(id, seen.node.content().to_vec());
            }
        }
        let end = self.device.events();
        self.history.push(Vec::new(), model, start, end);
        Ok(())
    }

    fn is_full(&self) -> bool {
        let free = self.mount().statfs();
        free.available_blocks < PLENTY || free.space.free_inodes == 0
    }

    /// Whether a place of data or of a hole fits the content.
    fn check_place(&self, op: &Op, found: Result<u64>) -> Verdict {
        let (Op::SeekData(target, offset) | Op::SeekHole(target, offset)) = op else {
            return Err("gave a place".into());
        };
        let Ok(Some(id)) = self.model().target(target) else {
            return Err("sought in nothing".into());
        };
        let content = self.model().node(id).content();
        let (offset, size) = (*offset as usize, content.len());
        let zero = |end: usize| {
            let between = content.get(offset..end);
            between.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
        };
        let fits = match (op, found) {
            (Op::SeekData(..), Ok(at)) => (at as usize) < size && zero(at as usize),
            (Op::SeekData(..), Err(error)) => error == ENXIO && (offset >= size || zero(size)),
            (_, Ok(at)) => (offset..=size).contains(&(at as usize)),
            (_, Err(error)) => error == ENXIO && offset >= size,
        };
        match fits {
            true => Ok(()),
            false => Err(format!("found {found:?} in {size} bytes")),
        }
    }

    fn find(&self, path: &[u8]) -> Result<Ino> {
        let mut at = self.mount().root();
        for name in path {
            at = self.mount().lookup(at, name_of(*name))?.ino();
        }
        Ok(at)
    }

    fn place(&self, path: &[u8]) -> Result<(Ino, &'static [u8])> {
        let (name, dir) = path.split_last().ok_or(EBUSY)?;
        Ok((self.find(dir)?, name_of(*name)))
    }

    fn target(&self, target: &Target) -> Result<Option<Ino>> {
        match target {
            Target::Path(path) => self.find(path).map(Some),
            Target::Open(slot) => Ok(self.pins[usize::from(*slot) % SLOTS]),
        }
    }

    fn put_in(&mut self, slot: u8, ino: Option<Ino>) {
        let old = core::mem::replace(&mut self.pins[usize::from(slot) % SLOTS], ino);
        if let Some(old) = old {
            self.mount().unpin(old, 1);
        }
    }

    fn act(&mut self, op: &Op) -> Result<Reply> {
        let file = NewNode::new(Kind::Regular, 0o644);
        match op {
            Op::Create(path) => self.make(path, &file),
            Op::Mkdir(path) => self.make(path, &NewNode::new(Kind::Directory, 0o755)),
            Op::Symlink(path, len) => self.make(path, &NewNode::symlink(&link_target(*len))),
            Op::Mknod(path) => self.make(path, &NewNode::new(Kind::Fifo, 0o644)),
            Op::Tmpfile(slot) => {
                let ino = self.mount().tmpfile(self.mount().root(), &file)?.pin();
                self.put_in(*slot, Some(ino));
                Ok(Reply::Done)
            }
            Op::Unlink(path) | Op::Rmdir(path) => {
                let (dir, name) = self.place(path)?;
                match op {
                    Op::Unlink(_) => self.mount().unlink(dir, name)?,
                    _ => self.mount().rmdir(dir, name)?,
                }
                Ok(Reply::Done)
            }
            Op::Rename(old, new, mode) => {
                let ((old_dir, old), (new_dir, new)) = (self.place(old)?, self.place(new)?);
                self.mount().rename(old_dir, old, new_dir, new, *mode)?;
                Ok(Reply::Done)
            }
            Op::Open(path, slot) => {
                let inode = self.mount().get(self.find(path)?)?;
                if inode.kind() == Kind::Regular {
                    let ino = inode.pin();
                    self.put_in(*slot, Some(ino));
                }
                Ok(Reply::Done)
            }
            Op::Close(slot) => {
                self.put_in(*slot, None);
                Ok(Reply::Done)
            }
            Op::Sync => self.mount().sync().map(|()| Reply::Done),
            Op::Commit => self.mount().commit().map(|()| Reply::Done),
            Op::Link(target, _)
            | Op::Write(target, ..)
            | Op::Append(target, ..)
            | Op::Truncate(target, _)
            | Op::Allocate(target, ..)
            | Op::Punch(target, ..)
            | Op::Zero(target, ..)
            | Op::Read(target, ..)
            | Op::SeekData(target, _)
            | Op::SeekHole(target, _)
            | Op::Chmod(target, _)
            | Op::Chown(target, ..)
            | Op::Fsync(target)
            | Op::Fdatasync(target) => match self.target(target)? {
                Some(ino) => self.act_on(op, ino),
                None => Ok(Reply::Done),
            },
            Op::Remount | Op::Crash(_) | Op::Inject(_) => Ok(Reply::Done),
        }
    }

    fn make(&self, path: &[u8], new: &NewNode<'_>) -> Result<Reply> {
        let (dir, name) = self.place(path)?;
        self.mount().create(dir, name, new)?;
        Ok(Reply::Done)
    }

    fn act_on(&self, op: &Op, ino: Ino) -> Result<Reply> {
        let mount = self.mount();
        let change = |change: SetAttr| mount.set_attr(ino, &change).map(drop);
        match op {
            Op::Link(_, path) => {
                let (dir, name) = self.place(path)?;
                mount.link(ino, dir, name)
            }
            Op::Write(_, offset, len, seed) => {
                let data = pattern(*seed, *offset as usize, *len as usize);
                return mount.write(ino, (*offset).into(), &data).map(Reply::Count);
            }
            Op::Append(_, len, seed) => {
                // What is written depends on where.
                let size = mount.stat(ino)?.attributes.size;
                let data = pattern(*seed, size as usize, *len as usize);
                let (_, count) = mount.append(ino, &data)?;
                return Ok(Reply::Count(count));
            }
            Op::Read(_, offset, len) => {
                let mut data = vec![0xee; *len as usize];
                let count = mount.read(ino, (*offset).into(), &mut data)?;
                data.truncate(count);
                return Ok(Reply::Bytes(data));
            }
            Op::SeekData(_, offset) => {
                return mount
                    .seek(ino, (*offset).into(), SeekFrom::Data)
                    .map(Reply::At);
            }
            Op::SeekHole(_, offset) => {
                return mount
                    .seek(ino, (*offset).into(), SeekFrom::Hole)
                    .map(Reply::At);
            }
            Op::Truncate(_, size) => change(SetAttr {
                size: Some((*size).into()),
                ..SetAttr::default()
            }),
            Op::Allocate(_, offset, len, keep) => {
                mount.allocate(ino, (*offset).into(), (*len).into(), *keep)
            }
            Op::Punch(_, offset, len) => mount.punch_hole(ino, (*offset).into(), (*len).into()),
            Op::Zero(_, offset, len, keep) => {
                mount.zero_range(ino, (*offset).into(), (*len).into(), *keep)
            }
            Op::Chmod(_, mode) => change(SetAttr {
                mode: Some(*mode & 0o7777),
                ..SetAttr::default()
            }),
            Op::Chown(_, uid, gid) => change(SetAttr {
                uid: Some((*uid).into()),
                gid: Some((*gid).into()),
                ..SetAttr::default()
            }),
            Op::Fsync(_) => mount.fsync(ino),
            Op::Fdatasync(_) => mount.fdatasync(ino),
            _ => Ok(()),
        }?;
        Ok(Reply::Done)
    }
}

/// Judges what a crash has left: fsck finds nothing, it can be mounted, and what it holds is
/// within what the history allows. `at` is how much the device had done, and the number of the
/// newest promise. Gives what it holds.
pub fn judge<F: FileSystem>(
    world: &World,
    left: &MemDevice,
    history: &History,
    (end, promised): (usize, usize),
    unit: usize,
) -> Verdict<Model> {
    (world.tamper)(left);
    (world.fsck)(left).map_err(|how| format!("fsck after a crash: {how}"))?;
    // A copy: the volume itself is mounted by who goes on with it.
    let device = Arc::new(left.clone());
    let mount = mount::<F>(device.clone())?;
    let model = history.settle(&Picture::of(&mount)?, end, promised, unit)?;
    complaints(&mount)?;
    world.empty(mount, &device)?;
    Ok(model)
}

/// A write that came only so far.
fn shortened(op: &Op, done: u32) -> Op {
    match op.clone() {
        Op::Write(target, offset, _, seed) => Op::Write(target, offset, done, seed),
        Op::Append(target, _, seed) => Op::Append(target, done, seed),
        op => op,
    }
}

fn name_of(name: u8) -> &'static [u8] {
    NAMES[usize::from(name) % NAMES.len()].as_bytes()
}

/// A result, with few bytes.
fn tell(result: &core::result::Result<Reply, Error>) -> String {
    match result {
        Ok(Reply::Bytes(bytes)) => format!("{} bytes, {:x?}", bytes.len(), bytes.get(..8)),
        other => format!("{other:?}"),
    }
}
