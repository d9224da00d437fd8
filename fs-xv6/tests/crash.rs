// SPDX-License-Identifier: GPL-2.0

//! Crashes: what a device can hold after one is a volume on which nothing is wrong, nothing is
//! missing that was synced, and no file shows what was never written to it.
//!
//! A random workload runs on a device that records its writes. A state is a prefix of the log, of
//! which any part may be missing that was not flushed. `CRASH_STATES` sets how many states there
//! are.

mod common;

use common::{
    format,
    fsck,
    mount,
    pattern,
    read_all, //
};
use kernel::{
    bento::{
        Ino,
        Kind, //
    },
    error::code::*,
    user::{
        device::{
            MemDevice,
            RecordingDevice, //
        },
        Mount,
        MountOptions,
        NewNode,
        RenameMode,
        SetAttr, //
    },
};
use std::{
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    sync::Arc,
};
use xv6::Xv6;

const BLOCK: usize = 4096;
const VOLUME: u64 = 4096;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(u32),
    Link(Vec<u8>),
}

/// What should be on the volume.
#[derive(Clone, Debug, Default)]
struct State {
    nodes: BTreeMap<String, Node>,
    files: BTreeMap<u32, Vec<u8>>,
}

impl State {
    fn names_of(&self, file: u32) -> usize {
        let names = self.nodes.values();
        names.filter(|node| **node == Node::File(file)).count()
    }

    /// All that can be told from the outside but the bytes.
    fn shape(&self) -> Shape {
        let mut first = BTreeMap::new();
        let shape = |(path, node): (&String, &Node)| {
            let what = match node {
                Node::Dir => What::Dir,
                Node::Link(target) => What::Link(target.clone()),
                Node::File(file) => What::File {
                    same_as: first.entry(*file).or_insert(path.clone()).clone(),
                    size: self.files[file].len() as u64,
                },
            };
            (path.clone(), what)
        };
        self.nodes.iter().map(shape).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Dir,
    Link(Vec<u8>),
    File { same_as: String, size: u64 },
}

type Shape = BTreeMap<String, What>;

/// Small, fast and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Runs random operations on a mount and on the model.
struct Workload<'m> {
    mount: &'m Mount<Xv6>,
    device: Arc<RecordingDevice>,
    random: Random,
    state: State,
    /// What should be there after each operation.
    history: Vec<State>,
    /// Where in the log each had ended.
    ends: Vec<usize>,
    next_file: u32,
}

impl Workload<'_> {
    fn path(&mut self) -> String {
        let name = self.random.below(8);
        match self.random.below(4) {
            0 => format!("d0/n{name}"),
            1 => format!("d1/n{name}"),
            _ => format!("n{name}"),
        }
    }

    fn place<'p>(&self, path: &'p str) -> Option<(Ino, &'p [u8])> {
        match path.split_once('/') {
            None => Some((self.mount.root(), path.as_bytes())),
            Some((dir, name)) => {
                let dir = self.mount.lookup(self.mount.root(), dir.as_bytes()).ok()?;
                Some((dir.ino(), name.as_bytes()))
            }
        }
    }

    fn file(&mut self) -> Option<(u32, Ino)> {
        let paths = self.state.nodes.iter();
        let files: Vec<_> = paths
            .filter_map(|(path, node)| match node {
                Node::File(file) => Some((*file, path.clone())),
                _ => None,
            })
            .collect();
        if files.is_empty() {
            return None;
        }
        let (file, path) = &files[self.random.below(files.len() as u64) as usize];
        let (dir, name) = self.place(path)?;
        Some((*file, self.mount.lookup(dir, name).unwrap().ino()))
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=3 => self.create(),
            4 => self.directory(),
            5..=9 => self.write(),
            10 | 11 => self.truncate(),
            12..=14 => self.rename(),
            15 => self.link(),
            16 | 17 => self.unlink(),
            18 => self.punch(),
            _ => self.allocate(),
        }
        self.done();
    }

    /// An operation has come to its end.
    fn done(&mut self) {
        self.history.push(self.state.clone());
        self.ends.push(self.device.events());
    }

    fn create(&mut self) {
        let path = self.path();
        let Some((dir, name)) = self.place(&path) else {
            return;
        };
        let symlink = self.random.below(4) == 0;
        let target = pattern(self.random.next(), 1 + self.random.below(300) as usize);
        let target: Vec<u8> = target.into_iter().map(|byte| byte | 1).collect();
        let new = match symlink {
            true => NewNode::symlink(&target),
            false => NewNode::new(Kind::Regular, 0o644),
        };
        match self.mount.create(dir, name, &new) {
            Ok(_) if symlink => self.insert(path.clone(), Node::Link(target)),
            Ok(_) => {
                self.next_file += 1;
                self.state.files.insert(self.next_file, Vec::new());
                self.insert(path.clone(), Node::File(self.next_file));
            }
            Err(error) => {
                assert_eq!(error, EEXIST);
                assert!(self.state.nodes.contains_key(&path));
            }
        }
    }

    fn insert(&mut self, path: String, node: Node) {
        assert_eq!(self.state.nodes.insert(path, node), None);
    }

    fn directory(&mut self) {
        let name = format!("d{}", self.random.below(2));
        let root = self.mount.root();
        match self.mount.mkdir(root, name.as_bytes(), 0o755) {
            Ok(_) => self.insert(name, Node::Dir),
            Err(_) => {
                if self.mount.rmdir(root, name.as_bytes()).is_ok() {
                    self.state.nodes.remove(&name);
                }
            }
        }
    }

    fn write(&mut self) {
        let Some((file, ino)) = self.file() else {
            return;
        };
        let size = self.state.files[&file].len() as u64;
        let offset = match self.random.below(3) {
            0 => size,
            1 => self.random.below(size + 1),
            _ => self.random.below(100_000),
        };
        let data = pattern(self.random.next(), 1 + self.random.below(20_000) as usize);
        let mut done = 0;
        // What one mapping holds appears at once; a write over several does not.
        while done < data.len() {
            let at = offset + done as u64;
            let end = data.len().min(done + BLOCK - at as usize % BLOCK);
            assert_eq!(self.mount.write(ino, at, &data[done..end]), Ok(end - done));
            let content = self.state.files.get_mut(&file).unwrap();
            let stop = at as usize + end - done;
            content.resize(content.len().max(stop), 0);
            content[at as usize..stop].copy_from_slice(&data[done..end]);
            self.done();
            done = end;
        }
    }

    fn truncate(&mut self) {
        let Some((file, ino)) = self.file() else {
            return;
        };
        let size = self.random.below(60_000);
        let change = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        self.mount.set_attr(ino, &change).unwrap();
        let content = self.state.files.get_mut(&file).unwrap();
        content.resize(size as usize, 0);
    }

    fn punch(&mut self) {
        let Some((file, ino)) = self.file() else {
            return;
        };
        let content = self.state.files.get_mut(&file).unwrap();
        let start = self.random.below(content.len() as u64 + 1);
        let len = 1 + self.random.below(30_000);
        self.mount.punch_hole(ino, start, len).unwrap();
        let end = content.len().min((start + len) as usize);
        content[start as usize..end].fill(0);
    }

    fn allocate(&mut self) {
        let Some((file, ino)) = self.file() else {
            return;
        };
        let start = self.random.below(60_000);
        let len = 1 + self.random.below(30_000);
        self.mount.allocate(ino, start, len, false).unwrap();
        let content = self.state.files.get_mut(&file).unwrap();
        content.resize(content.len().max((start + len) as usize), 0);
    }

    fn rename(&mut self) {
        let (from, to) = (self.path(), self.path());
        let (Some((from_dir, from_name)), Some((to_dir, to_name))) =
            (self.place(&from), self.place(&to))
        else {
            return;
        };
        let exchange = self.random.below(4) == 0;
        let mode = match exchange {
            true => RenameMode::Exchange,
            false => RenameMode::Replace,
        };
        let result = self
            .mount
            .rename(from_dir, from_name, to_dir, to_name, mode);
        let (old, new) = (
            self.state.nodes.get(&from).cloned(),
            self.state.nodes.get(&to).cloned(),
        );
        let Ok(()) = result else {
            assert_eq!(result, Err(ENOENT));
            return;
        };
        let old = old.unwrap();
        if new.as_ref() == Some(&old) && matches!(old, Node::File(_)) {
            return;
        }
        match (exchange, new) {
            (true, new) => {
                self.state.nodes.insert(from, new.unwrap());
            }
            (false, new) => {
                if from != to {
                    self.state.nodes.remove(&from);
                    self.forget(new, &to);
                }
            }
        }
        self.state.nodes.insert(to, old);
    }

    /// A name has gone: perhaps its file too.
    fn forget(&mut self, node: Option<Node>, path: &str) {
        self.state.nodes.remove(path);
        if let Some(Node::File(file)) = node {
            if self.state.names_of(file) == 0 {
                self.state.files.remove(&file);
            }
        }
    }

    fn link(&mut self) {
        let Some((file, ino)) = self.file() else {
            return;
        };
        let path = self.path();
        let Some((dir, name)) = self.place(&path) else {
            return;
        };
        if self.mount.link(ino, dir, name).is_ok() {
            self.insert(path, Node::File(file));
        }
    }

    fn unlink(&mut self) {
        let path = self.path();
        let Some((dir, name)) = self.place(&path) else {
            return;
        };
        if self.mount.unlink(dir, name).is_ok() {
            let node = self.state.nodes.remove(&path);
            self.forget(node, &path);
        }
    }

    fn sync(&mut self) {
        self.mount.sync().unwrap();
        self.device.mark(self.history.len() as u64 - 1);
    }
}

/// What is on a volume: its shape, and the bytes of each path.
fn look(mount: &Mount<Xv6>) -> (Shape, BTreeMap<String, Vec<u8>>) {
    let mut shape = Shape::new();
    let mut contents = BTreeMap::new();
    let mut first = BTreeMap::new();
    let mut names: BTreeMap<Ino, u32> = BTreeMap::new();
    let mut dirs = vec![(String::new(), mount.root())];
    while let Some((prefix, dir)) = dirs.pop() {
        let mut below = 0;
        for entry in mount.list(dir).expect("list") {
            let path = format!("{prefix}{}", String::from_utf8(entry.name).unwrap());
            let stat = mount.stat(entry.ino).expect("stat");
            assert_eq!(stat.kind, entry.kind);
            *names.entry(entry.ino).or_default() += 1;
            let what = match stat.kind {
                Kind::Directory => {
                    below += 1;
                    assert_eq!(mount.parent(entry.ino), Ok(dir));
                    dirs.push((format!("{path}/"), entry.ino));
                    What::Dir
                }
                Kind::Symlink => What::Link(mount.read_link(entry.ino).expect("read_link")),
                _ => {
                    contents.insert(path.clone(), read_all(mount, entry.ino));
                    first.entry(path.clone()).or_insert(entry.ino);
                    What::File {
                        same_as: path.clone(),
                        size: stat.attributes.size,
                    }
                }
            };
            shape.insert(path, what);
        }
        assert_eq!(mount.stat(dir).unwrap().attributes.nlink, 2 + below);
    }
    // Names of one file are told by the least of them.
    let mut least: BTreeMap<Ino, String> = BTreeMap::new();
    for (path, ino) in &first {
        least.entry(*ino).or_insert_with(|| path.clone());
        assert_eq!(mount.stat(*ino).unwrap().attributes.nlink, names[ino]);
    }
    for (path, what) in &mut shape {
        if let What::File { same_as, .. } = what {
            *same_as = least[&first[path]].clone();
        }
    }
    (shape, contents)
}

/// What is not the same.
fn difference(found: &Shape, expected: &Shape) -> String {
    let paths: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let differ = |path: &&&String| found.get(**path) != expected.get(**path);
    let tell = |path: &String| {
        let short = |what: Option<&What>| match what {
            Some(What::Link(target)) => format!("link of {}", target.len()),
            what => format!("{what:?}"),
        };
        let (found, expected) = (short(found.get(path)), short(expected.get(path)));
        format!("{path}: {found}, not {expected}\n")
    };
    paths.iter().filter(differ).map(|path| tell(path)).collect()
}

/// Checks a volume after a crash that came when the operations had got to somewhere in `history`.
fn check(device: MemDevice, history: &[State], fresh: &kernel::user::StatFs) {
    fsck(&device);
    let device = Arc::new(device);
    let mount = mount(&device);
    let (shape, contents) = look(&mount);
    let matching = history.iter().rev().find(|state| state.shape() == shape);
    let Some(state) = matching else {
        let diffs = history
            .iter()
            .map(|state| difference(&shape, &state.shape()));
        panic!(
            "no operation leaves this; one of {} leaves it but for {}",
            history.len(),
            diffs.min_by_key(String::len).unwrap()
        );
    };
    for (path, content) in &contents {
        let Node::File(file) = state.nodes[path] else {
            unreachable!()
        };
        for (at, block) in content.chunks(BLOCK).enumerate() {
            let known = |state: &State| match state.files.get(&file) {
                Some(data) => {
                    let data = data.get(at * BLOCK..).unwrap_or_default();
                    let data = &data[..data.len().min(block.len())];
                    block.starts_with(data) && block[data.len()..].iter().all(|byte| *byte == 0)
                }
                None => false,
            };
            assert!(history.iter().any(known), "{path}: block {at} was never so");
        }
    }
    // Nothing has leaked: when all is gone, everything is free.
    common::remove_all(&mount);
    mount.sync().unwrap();
    assert_eq!(mount.statfs(), *fresh);
    assert_eq!((mount.breaches(), mount.damage()), (0, 0));
    mount.umount().unwrap();
    fsck(&device);
}

fn states() -> usize {
    let states = std::env::var("CRASH_STATES").ok();
    states.map_or(2000, |states| states.parse().expect("CRASH_STATES"))
}

/// Runs a workload and looks at states of it.
fn explore(seed: u64, operations: u64, states: usize) {
    let start = format(VOLUME);
    let fresh = mount(&start).statfs();
    let device = Arc::new(RecordingDevice::new(&start));
    let mounted = Mount::<Xv6>::mount(device.clone(), &MountOptions::default()).unwrap();
    let mut workload = Workload {
        mount: &mounted,
        device: device.clone(),
        random: Random(seed),
        state: State::default(),
        history: vec![State::default()],
        ends: vec![device.events()],
        next_file: 0,
    };
    for _ in 0..operations {
        workload.step();
        if workload.random.below(8) == 0 {
            workload.sync();
        }
    }
    let (history, ends) = (workload.history, workload.ends);
    assert_eq!(look(&mounted).0, history[history.len() - 1].shape());
    assert_eq!(mounted.breaches(), 0);
    drop(mounted);

    let log = device.recorded();
    let mut random = Random(seed ^ 0xffff);
    // Every place if there are states enough, and some more than once.
    let mut places: Vec<usize> = (0..=log.len()).take(states).collect();
    if states <= log.len() {
        places.clear();
    }
    places.resize_with(states, || random.below(log.len() as u64 + 1) as usize);
    places.sort_unstable();
    let mut crashes = log.crashes();
    let explored = places.len();
    for end in places {
        let synced = log.mark(end).unwrap_or(0) as usize;
        // The first operation that had not begun.
        let begun = ends.partition_point(|&at| at < end) + 1;
        let possible = &history[synced..begun.clamp(synced + 1, history.len())];
        let keep = random.below(4);
        let device = crashes.state(end, |_| match keep {
            0 => true,
            1 => false,
            _ => random.below(2) == 0,
        });
        check(device, possible, &fresh);
    }
    println!("seed {seed}: {operations} operations, {explored} states");
}

#[test]
fn a_short_workload_at_every_write() {
    explore(1, 25, states());
}

#[test]
fn random_workloads() {
    for seed in 2..6 {
        explore(seed, 80, states() / 4);
    }
}

#[test]
fn a_long_workload_with_few_syncs() {
    explore(7, 400, states() / 2);
}
