// SPDX-License-Identifier: GPL-2.0

//! What a volume should hold.

use super::{
    content::Content,
    op::*, //
};
use kernel::{
    bento::Kind,
    error::{
        code::*,
        Result, //
    },
    user::RenameMode,
};
use std::collections::{
    BTreeMap,
    BTreeSet, //
};

/// Bytes of a block: a write of one block or less appears at once.
const BLOCK: usize = 4096;
const S_ISUID: u16 = 0o4000;
const S_ISGID: u16 = 0o2000;
const S_IXGRP: u16 = 0o0010;

/// A number for an inode of the model, never used again.
pub type Id = u32;

/// What an inode holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Dir(BTreeMap<u8, Id>),
    File(Content),
    Link(Vec<u8>),
    Fifo,
}

/// An inode of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub body: Body,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
}

/// What an operation gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Done,
    Count(usize),
    Bytes(Vec<u8>),
    /// Where data or a hole is; the model takes any place that fits.
    At(u64),
}

/// What a volume should hold, with the files that are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    nodes: BTreeMap<Id, Node>,
    open: [Option<Id>; SLOTS],
    next: Id,
}

const ROOT: Id = 0;

impl Default for Model {
    fn default() -> Self {
        let mut root = Node::new(Body::Dir(BTreeMap::new()), 0o755);
        root.nlink = 2;
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            open: [None; SLOTS],
            next: 1,
        }
    }
}

impl Node {
    fn new(body: Body, mode: u16) -> Self {
        Self {
            body,
            mode,
            uid: 0,
            gid: 0,
            nlink: 1,
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self.body {
            Body::Dir(_) => Kind::Directory,
            Body::File(_) => Kind::Regular,
            Body::Link(_) => Kind::Symlink,
            Body::Fifo => Kind::Fifo,
        }
    }

    /// The content of a file; none of what is no file.
    pub fn content(&self) -> &[u8] {
        match &self.body {
            Body::File(content) => content,
            _ => &[],
        }
    }

    /// All that is told of it but the bytes of a file.
    pub fn same_but_bytes(&self, other: &Self) -> bool {
        let bodies = match (&self.body, &other.body) {
            (Body::File(a), Body::File(b)) => a.len() == b.len(),
            (a, b) => a == b,
        };
        let rest = |node: &Self| (node.mode, node.uid, node.gid, node.nlink);
        bodies && rest(self) == rest(other)
    }

    fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir(_))
    }
}

/// The bytes that an operation writes: no block is like another one.
pub fn pattern(seed: u8, offset: usize, len: usize) -> Vec<u8> {
    let byte = |at: usize| {
        let word = (at as u64 / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(seed) << 32;
        (word.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 24) as u8 | 1
    };
    (offset..offset + len).map(byte).collect()
}

/// The target of a symbolic link of this length.
pub fn link_target(len: u16) -> Vec<u8> {
    pattern(len as u8, 0, usize::from(len).max(1))
}

impl Model {
    /// All inodes.
    pub fn nodes(&self) -> &BTreeMap<Id, Node> {
        &self.nodes
    }

    /// An inode.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[&id]
    }

    /// What is open in a slot.
    pub fn open(&self, slot: u8) -> Option<Id> {
        self.open[usize::from(slot) % SLOTS]
    }

    /// What a path names.
    pub fn find(&self, path: &[u8]) -> Result<Id> {
        let mut at = ROOT;
        for name in path {
            let Body::Dir(entries) = &self.node(at).body else {
                return Err(ENOTDIR);
            };
            at = *entries.get(name).ok_or(ENOENT)?;
        }
        Ok(at)
    }

    /// What an operation is done to; nothing if the slot is empty.
    pub fn target(&self, target: &Target) -> Result<Option<Id>> {
        match target {
            Target::Path(path) => self.find(path).map(Some),
            Target::Open(slot) => Ok(self.open(*slot)),
        }
    }

    /// Every path and what it names, the root left out.
    pub fn paths(&self) -> BTreeMap<Path, Id> {
        let mut all = BTreeMap::new();
        let mut dirs = vec![(Path::new(), ROOT)];
        while let Some((prefix, dir)) = dirs.pop() {
            if let Body::Dir(entries) = &self.node(dir).body {
                for (name, id) in entries {
                    let path = [&prefix[..], &[*name]].concat();
                    if self.node(*id).is_dir() {
                        dirs.push((path.clone(), *id));
                    }
                    all.insert(path, *id);
                }
            }
        }
        all
    }

    /// Every name: the directory, the name, and what it names.
    pub fn names(&self) -> BTreeSet<(Id, u8, Id)> {
        let mut all = BTreeSet::new();
        for (dir, node) in &self.nodes {
            if let Body::Dir(entries) = &node.body {
                all.extend(entries.iter().map(|(name, id)| (*dir, *name, *id)));
            }
        }
        all
    }

    /// Forgets what is open: files without a name are gone.
    pub fn close_all(&mut self) {
        self.open = [None; SLOTS];
        self.sweep();
    }

    /// Replaces the content of a file by one of the same or another size.
    pub fn set_content(&mut self, id: Id, content: Vec<u8>) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.body = Body::File(content.into());
        }
    }

    /// What a crash can show of a write to a file that is half done: blocks appear one after the
    /// other, and the file grows with those behind its end. What is written below the end needs no
    /// step: there each block is as in this state or as in the next.
    pub fn steps_to(&self, next: &Self, id: Id) -> Vec<Self> {
        let (Some(Body::File(old)), Some(Body::File(new))) = (
            self.nodes.get(&id).map(|node| &node.body),
            next.nodes.get(&id).map(|node| &node.body),
        ) else {
            return Vec::new();
        };
        // What is written has no zeroes: those behind the old end were skipped.
        let skipped = new[old.len().min(new.len())..]
            .iter()
            .take_while(|byte| **byte == 0)
            .count();
        let first = (old.len() + skipped) / BLOCK + 1;
        let ends = (first..=new.len() / BLOCK).map(|block| block * BLOCK);
        ends.filter(|end| *end < new.len())
            .map(|end| {
                let mut step = self.clone();
                if let Some(node) = step.nodes.get_mut(&id) {
                    node.body = Body::File(new.prefix(end));
                }
                step
            })
            .collect()
    }

    /// Does an operation, or says how it fails; then nothing has changed.
    pub fn apply(&mut self, op: &Op) -> Result<Reply> {
        let done = |()| Reply::Done;
        match op {
            Op::Create(path) => self.add(path, Node::file()).map(done),
            Op::Mkdir(path) => self.mkdir(path).map(done),
            Op::Symlink(path, len) => {
                let node = Node::new(Body::Link(link_target(*len)), 0o777);
                self.add(path, node).map(done)
            }
            Op::Mknod(path) => self.add(path, Node::new(Body::Fifo, 0o644)).map(done),
            Op::Tmpfile(slot) => {
                let id = self.insert(Node {
                    nlink: 0,
                    ..Node::file()
                });
                self.put_in(*slot, Some(id));
                Ok(Reply::Done)
            }
            Op::Link(target, path) => self.link(target, path).map(done),
            Op::Unlink(path) => self.remove(path, false).map(done),
            Op::Rmdir(path) => self.remove(path, true).map(done),
            Op::Rename(old, new, mode) => self.rename(old, new, *mode).map(done),
            Op::Open(path, slot) => {
                let id = self.find(path)?;
                if self.node(id).kind() == Kind::Regular {
                    self.put_in(*slot, Some(id));
                }
                Ok(Reply::Done)
            }
            Op::Close(slot) => {
                self.put_in(*slot, None);
                Ok(Reply::Done)
            }
            Op::Chmod(target, mode) => self.change(target, |node| node.mode = *mode & 0o7777),
            Op::Chown(target, uid, gid) => self.change(target, |node| node.chown(*uid, *gid)),
            Op::Fsync(target) | Op::Fdatasync(target) => self.change(target, |_| ()),
            Op::Sync | Op::Commit | Op::Inject(_) => Ok(Reply::Done),
            Op::Remount | Op::Crash(_) => {
                self.close_all();
                Ok(Reply::Done)
            }
            _ => self.data(op),
        }
    }

    /// Operations on the bytes of a file.
    fn data(&mut self, op: &Op) -> Result<Reply> {
        let (Op::Write(target, ..)
        | Op::Append(target, ..)
        | Op::Truncate(target, ..)
        | Op::Allocate(target, ..)
        | Op::Punch(target, ..)
        | Op::Zero(target, ..)
        | Op::Read(target, ..)
        | Op::SeekData(target, _)
        | Op::SeekHole(target, _)) = op
        else {
            return Ok(Reply::Done);
        };
        let Some(id) = self.target(target)? else {
            return Ok(Reply::Done);
        };
        let Some(Node {
            body: Body::File(content),
            ..
        }) = self.nodes.get_mut(&id)
        else {
            return Err(match self.node(id).kind() {
                Kind::Directory => EISDIR,
                _ => EINVAL,
            });
        };
        let range = |offset: &u32, len: &u32| (*offset as usize, *offset as usize + *len as usize);
        match op {
            Op::Write(_, offset, len, seed) => {
                Ok(write(content, *offset as usize, *len as usize, *seed))
            }
            Op::Append(_, len, seed) => {
                let size = content.len();
                Ok(write(content, size, *len as usize, *seed))
            }
            Op::Truncate(_, size) => {
                content.change(|bytes| bytes.resize(*size as usize, 0));
                Ok(Reply::Done)
            }
            Op::Allocate(_, _, 0, _) | Op::Punch(_, _, 0) | Op::Zero(_, _, 0, _) => Err(EINVAL),
            Op::Allocate(_, offset, len, keep) => {
                let (_, end) = range(offset, len);
                if !keep && end > content.len() {
                    content.change(|bytes| bytes.resize(end, 0));
                }
                Ok(Reply::Done)
            }
            Op::Punch(_, offset, len) => {
                let (start, end) = range(offset, len);
                zero(content, start, end);
                Ok(Reply::Done)
            }
            Op::Zero(_, offset, len, keep) => {
                let (start, end) = range(offset, len);
                zero(content, start, end);
                if !keep && end > content.len() {
                    content.change(|bytes| bytes.resize(end, 0));
                }
                Ok(Reply::Done)
            }
            Op::Read(_, offset, len) => {
                let (start, end) = range(offset, len);
                let end = end.min(content.len());
                Ok(Reply::Bytes(
                    content.get(start..end).unwrap_or_default().to_vec(),
                ))
            }
            _ => Ok(Reply::At(0)),
        }
    }

    /// What holds a name, which may not be a directory.
    fn place<'p>(&self, path: &'p [u8]) -> Result<(Id, &'p u8)> {
        // The root has no name that could be made or removed.
        let (name, dir) = path.split_last().ok_or(EBUSY)?;
        Ok((self.find(dir)?, name))
    }

    fn check_dir(&self, id: Id) -> Result<()> {
        match self.node(id).is_dir() {
            true => Ok(()),
            false => Err(ENOTDIR),
        }
    }

    fn parent<'p>(&self, path: &'p [u8]) -> Result<(Id, &'p u8)> {
        let (dir, name) = self.place(path)?;
        self.check_dir(dir)?;
        Ok((dir, name))
    }

    fn entries(&mut self, dir: Id) -> &mut BTreeMap<u8, Id> {
        match self.nodes.get_mut(&dir).map(|node| &mut node.body) {
            Some(Body::Dir(entries)) => entries,
            _ => unreachable!("only directories are asked"),
        }
    }

    fn entry(&mut self, dir: Id, name: u8) -> Option<Id> {
        self.entries(dir).get(&name).copied()
    }

    fn insert(&mut self, node: Node) -> Id {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        id
    }

    fn add(&mut self, path: &[u8], mut node: Node) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        if self.entry(dir, *name).is_some() {
            return Err(EEXIST);
        }
        if self.node(dir).mode & S_ISGID != 0 {
            node.gid = self.node(dir).gid;
            if node.is_dir() {
                node.mode |= S_ISGID;
            }
        }
        let id = self.insert(node);
        self.entries(dir).insert(*name, id);
        Ok(())
    }

    fn mkdir(&mut self, path: &[u8]) -> Result<()> {
        let mut node = Node::new(Body::Dir(BTreeMap::new()), 0o755);
        node.nlink = 2;
        self.add(path, node)?;
        let (dir, _) = self.parent(path)?;
        self.count(dir, 1);
        Ok(())
    }

    fn count(&mut self, id: Id, change: i32) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.nlink = node.nlink.wrapping_add_signed(change);
        }
    }

    fn put_in(&mut self, slot: u8, id: Option<Id>) {
        self.open[usize::from(slot) % SLOTS] = id;
        self.sweep();
    }

    /// Inodes without a name that nobody has open are gone.
    fn sweep(&mut self) {
        let open = self.open;
        self.nodes
            .retain(|id, node| node.nlink > 0 || open.contains(&Some(*id)));
    }

    fn change(&mut self, target: &Target, change: impl FnOnce(&mut Node)) -> Result<Reply> {
        if let Some(id) = self.target(target)? {
            self.nodes.entry(id).and_modify(change);
        }
        Ok(Reply::Done)
    }

    fn link(&mut self, target: &Target, path: &[u8]) -> Result<()> {
        let Some(id) = self.target(target)? else {
            return Ok(());
        };
        let (dir, name) = self.place(path)?;
        if self.node(id).is_dir() {
            return Err(EPERM);
        }
        self.check_dir(dir)?;
        if self.entry(dir, *name).is_some() {
            return Err(EEXIST);
        }
        self.entries(dir).insert(*name, id);
        self.count(id, 1);
        Ok(())
    }

    fn remove(&mut self, path: &[u8], directory: bool) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        let id = self.entry(dir, *name).ok_or(ENOENT)?;
        match (&self.node(id).body, directory) {
            (Body::Dir(_), false) => return Err(EISDIR),
            (Body::Dir(entries), true) if !entries.is_empty() => return Err(ENOTEMPTY),
            (Body::Dir(_), true) | (_, false) => {}
            (_, true) => return Err(ENOTDIR),
        }
        self.entries(dir).remove(name);
        self.drop_name(dir, id);
        self.sweep();
        Ok(())
    }

    /// A name of an inode in `dir` has gone.
    fn drop_name(&mut self, dir: Id, id: Id) {
        match self.node(id).is_dir() {
            true => {
                self.count(dir, -1);
                self.count(id, -2);
            }
            false => self.count(id, -1),
        }
    }

    /// Whether `dir` is `ancestor` or lies below it.
    fn is_below(&self, dir: &[u8], ancestor: Id) -> bool {
        (0..=dir.len()).any(|len| self.find(&dir[..len]) == Ok(ancestor))
    }

    fn rename(&mut self, old: &[u8], new: &[u8], mode: RenameMode) -> Result<()> {
        let (old_dir, old_name) = self.place(old)?;
        let (new_dir, new_name) = self.place(new)?;
        self.check_dir(old_dir)?;
        self.check_dir(new_dir)?;
        let id = self.entry(old_dir, *old_name).ok_or(ENOENT)?;
        let target = self.entry(new_dir, *new_name);
        let exchange = mode == RenameMode::Exchange;
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(EEXIST),
            (RenameMode::Exchange, None) => return Err(ENOENT),
            (_, Some(target)) if target == id => return Ok(()),
            _ => {}
        }
        if old_dir != new_dir {
            if self.is_below(&new[..new.len() - 1], id) {
                return Err(EINVAL);
            }
            if target.is_some_and(|target| self.is_below(&old[..old.len() - 1], target)) {
                return Err(if exchange { EINVAL } else { ENOTEMPTY });
            }
        }
        let moved_dir = self.node(id).is_dir();
        if let (Some(target), false) = (target, exchange) {
            match (moved_dir, &self.node(target).body) {
                (true, Body::Dir(entries)) if !entries.is_empty() => return Err(ENOTEMPTY),
                (true, Body::Dir(_)) => {}
                (true, _) => return Err(ENOTDIR),
                (false, Body::Dir(_)) => return Err(EISDIR),
                (false, _) => {}
            }
        }
        self.entries(old_dir).remove(old_name);
        self.entries(new_dir).insert(*new_name, id);
        if moved_dir {
            self.count(old_dir, -1);
            self.count(new_dir, 1);
        }
        match target {
            Some(target) if exchange => {
                self.entries(old_dir).insert(*old_name, target);
                if self.node(target).is_dir() {
                    self.count(new_dir, -1);
                    self.count(old_dir, 1);
                }
            }
            Some(target) => self.drop_name(new_dir, target),
            None => {}
        }
        self.sweep();
        Ok(())
    }
}

impl Node {
    fn file() -> Self {
        Self::new(Body::File(Content::default()), 0o644)
    }

    fn chown(&mut self, uid: u16, gid: u16) {
        (self.uid, self.gid) = (uid.into(), gid.into());
        if !self.is_dir() {
            self.mode &= !S_ISUID;
            if self.mode & S_IXGRP != 0 {
                self.mode &= !S_ISGID;
            }
        }
    }
}

fn write(content: &mut Content, offset: usize, len: usize, seed: u8) -> Reply {
    if len > 0 {
        let end = offset + len;
        content.change(|bytes| {
            bytes.resize(bytes.len().max(end), 0);
            bytes[offset..end].copy_from_slice(&pattern(seed, offset, len));
        });
    }
    Reply::Count(len)
}

fn zero(content: &mut Content, start: usize, end: usize) {
    let end = end.min(content.len());
    if start < end {
        content.change(|bytes| bytes[start..end].fill(0));
    }
}
