// SPDX-License-Identifier: GPL-2.0

//! Directories against a map of names, with few hash values, at their greatest depth, and damaged.

#[path = "common/weak.rs"]
mod weak;

mod common;

use common::{
    format,
    world::Random, //
};
use kernel::{
    bento::{
        crc32c,
        FileSystem,
        Ino,
        Kind, //
    },
    error::code::*,
    user::{
        device::{
            Device,
            MemDevice, //
        },
        Mount,
        MountOptions,
        NewNode,
        RenameMode, //
    },
};
use std::{
    collections::BTreeMap,
    sync::Arc, //
};
use weak::Weak;
use xv6::{
    hash::Hasher,
    layout::*,
    Xv6, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

fn mount<F: FileSystem>(device: &Arc<MemDevice>) -> Mount<F> {
    Mount::mount(device.clone(), &MountOptions::default()).expect("mount")
}

fn no_complaints<F: FileSystem>(mount: &Mount<F>) {
    assert_eq!((mount.breaches(), mount.damage()), (0, 0));
}

/// All entries, read in steps with little room.
fn list<F: FileSystem>(mount: &Mount<F>, dir: Ino, room: usize) -> BTreeMap<Vec<u8>, Ino> {
    let mut all = BTreeMap::new();
    let mut position = 0;
    loop {
        let step = mount.read_dir_into(dir, position, room).expect("read_dir");
        let Some(last) = step.last() else { return all };
        assert!(last.next > position);
        position = last.next;
        for entry in step {
            assert!(all.insert(entry.name, entry.ino).is_none(), "read twice");
        }
    }
}

/// A name of one to 255 bytes.
fn name(number: u64) -> Vec<u8> {
    let mut name = format!("{number}").into_bytes();
    name.resize(name.len().max((number * 97 % 300).min(255) as usize), b'-');
    name
}

/// Random changes to a directory whose names collide all the time.
fn collide<const BITS: u32>(names: u64, steps: u64, seed: u64) {
    let device = format(common::BLOCKS);
    let mut fs: Mount<Weak<BITS>> = mount(&device);
    let root = fs.root();
    let file = fs
        .create(root, b"file", &NewNode::new(Kind::Regular, 0o600))
        .expect("create");
    let mut dir = fs.mkdir(root, b"dir", 0o700).expect("mkdir").ino();
    let mut ino = file.pin();
    let hasher = Hasher::new([1, 2]).with_bits(BITS);
    let mut model: BTreeMap<Vec<u8>, Ino> = BTreeMap::new();
    let full = |model: &BTreeMap<Vec<u8>, Ino>, name: &[u8]| {
        let key = hasher.key(name);
        model.keys().filter(|name| hasher.key(name) == key).count() as u64 >= SLOTS
    };
    let mut random = Random(seed);
    let mut refused = 0;
    for step in 0..steps {
        let path = name(random.below(names));
        // First it grows, then it shrinks.
        let grow = if step < steps / 2 { 6 } else { 3 };
        match random.below(10) {
            dice if dice < grow => match fs.link(ino, dir, &path) {
                Ok(()) => assert!(model.insert(path, ino).is_none()),
                Err(EEXIST) => assert!(model.contains_key(&path)),
                Err(error) => {
                    assert_eq!(error, ENOSPC);
                    assert!(full(&model, &path));
                    refused += 1;
                }
            },
            dice if dice < 8 => match fs.unlink(dir, &path) {
                Ok(()) => assert!(model.remove(&path).is_some()),
                Err(error) => {
                    assert_eq!(error, ENOENT);
                    assert!(!model.contains_key(&path));
                }
            },
            8 => {
                let new = name(random.below(names));
                match fs.rename(dir, &path, dir, &new, RenameMode::NoReplace) {
                    Ok(()) => {
                        assert!(model.remove(&path).is_some());
                        assert!(model.insert(new, ino).is_none());
                    }
                    Err(ENOENT) => assert!(!model.contains_key(&path)),
                    Err(EEXIST) => assert!(model.contains_key(&new)),
                    Err(error) => {
                        assert_eq!(error, ENOSPC);
                        assert!(model.remove(&path).is_some());
                        assert!(full(&model, &new));
                        model.insert(path, ino);
                    }
                }
            }
            _ => {
                let found = fs.lookup(dir, &path).map(|inode| inode.ino());
                assert_eq!(found.ok(), model.get(&path).copied());
            }
        }
        if step % (steps / 8) == 0 {
            assert_eq!(list(&fs, dir, 300), model);
            no_complaints(&fs);
            fs.unpin(ino, 1);
            fs.umount().expect("umount");
            fs = mount(&device);
            dir = fs.lookup(root, b"dir").expect("lookup").ino();
            ino = fs.lookup(root, b"file").expect("lookup").pin();
        }
    }
    assert!(refused > 0, "no hash was used up");
    assert_eq!(list(&fs, dir, 4096), model);
    for name in model.keys() {
        fs.unlink(dir, name).expect("unlink");
    }
    let empty = fs.stat(dir).expect("stat").attributes;
    assert_eq!((empty.size, empty.sectors), (0, 0));
    fs.rmdir(root, b"dir").expect("rmdir");
    assert_eq!(fs.stat(ino).expect("stat").attributes.nlink, 1);
    no_complaints(&fs);
}

#[test]
fn names_that_collide() {
    collide::<1>(100, 4000, 1);
    collide::<4>(400, 8000, 2);
    collide::<7>(2000, 20_000, 3);
}

/// A block of a volume that is not mounted, to be changed.
struct RawBlock {
    number: u64,
    bytes: Vec<u8>,
}

impl RawBlock {
    fn read(device: &MemDevice, number: u64) -> Self {
        let mut bytes = vec![0; BLOCK_SIZE];
        device.read(number, &mut bytes).expect("read");
        Self { number, bytes }
    }

    fn put<T: IntoBytes + zerocopy::Immutable>(&mut self, offset: usize, value: &T) {
        self.bytes[offset..][..size_of::<T>()].copy_from_slice(value.as_bytes());
    }

    fn get<T: FromBytes>(&self, offset: usize) -> T {
        T::read_from_prefix(&self.bytes[offset..])
            .expect("within the block")
            .0
    }

    /// Writes it as a metadata block with the right checksum.
    fn write(mut self, device: &MemDevice) {
        let seed = super_block(device).seed();
        let mut header: BlockHeader = self.get(0);
        header.checksum = 0.into();
        self.put(0, &header);
        header.checksum = crc32c(seed, &self.bytes).into();
        self.put(0, &header);
        device.write(self.number, &self.bytes).expect("write");
    }
}

fn super_block(device: &MemDevice) -> SuperBlock {
    RawBlock::read(device, SUPER_BLOCK).get(0)
}

/// Changes the record of an inode.
fn change_record(device: &MemDevice, ino: Ino, change: impl FnOnce(&mut RawInode)) {
    let (number, offset) = super_block(device).geometry().inode_place(ino);
    let mut block = RawBlock::read(device, number);
    let mut record: RawInode = block.get(offset);
    change(&mut record);
    record.checksum = 0.into();
    record.checksum = crc32c(super_block(device).seed(), record.as_bytes()).into();
    block.put(offset, &record);
    device.write(number, &block.bytes).expect("write");
}

fn dir_root(record: &RawInode) -> DirRoot {
    DirRoot::read_from_prefix(&record.root).expect("fits").0
}

/// Puts a directory of one leaf below a tower of inner nodes, all of them full but for the topmost: their
/// other children are never read. `blocks` are free blocks that the nodes may have.
fn build_tower(device: &MemDevice, dir: Ino, levels: u16, full: u16, blocks: &[u64]) {
    change_record(device, dir, |record| {
        let mut root = dir_root(record);
        assert_eq!(root.level.get(), 0);
        let mut child = root.block.get();
        for (level, block) in (1..=levels).zip(blocks) {
            let mut node = RawBlock {
                number: *block,
                bytes: vec![0; BLOCK_SIZE],
            };
            let entries = (BLOCK_SIZE - NODE_HEADER) / size_of::<DirIndex>();
            let count = if level <= full { entries } else { 1 };
            for place in 0..count {
                // The first child takes all keys that there are, the others have those above.
                let top = (1u64 << (HASH_BITS + SLOT_BITS)) - (1 << 30);
                let spread = u64::from(level) * 4096 + place as u64;
                node.put(
                    NODE_HEADER + place * size_of::<DirIndex>(),
                    &DirIndex {
                        key: if place == 0 { 0 } else { top + spread * SLOTS }.into(),
                        block: child.into(),
                    },
                );
            }
            node.put(
                0,
                &BlockHeader {
                    magic: MAGIC_DIR_INDEX.into(),
                    checksum: 0.into(),
                    block: (*block).into(),
                    owner: dir.into(),
                    generation: record.generation,
                    level: level.into(),
                    count: (count as u16).into(),
                },
            );
            node.write(device);
            mark_used(device, *block);
            child = *block;
        }
        root.block = child.into();
        root.level = levels.into();
        root.write_to_prefix(&mut record.root).expect("fits");
        record.size = (record.size.get() + u64::from(levels) * 4096).into();
        record.blocks = (record.blocks.get() + u64::from(levels)).into();
    });
}

/// Marks a block of the first group as used: in its bitmap and in the totals of the clean volume.
fn mark_used(device: &MemDevice, number: u64) {
    let mut first = RawBlock::read(device, SUPER_BLOCK);
    let mut record: SuperBlock = first.get(0);
    record.free_blocks = (record.free_blocks.get() - 1).into();
    record.checksum = 0.into();
    first.put(0, &record);
    record.checksum = crc32c(!0, &first.bytes).into();
    first.put(0, &record);
    device.write(SUPER_BLOCK, &first.bytes).expect("write");

    let mut bitmap = RawBlock::read(device, super_block(device).geometry().block_bitmap(0));
    let mut header: BitmapHeader = bitmap.get(0);
    header.free = (header.free.get() - 1).into();
    bitmap.put(0, &header);
    bitmap.bytes[BITMAP_HEADER + number as usize / 8] |= 1 << (number % 8);
    bitmap.write(device);
}

/// A directory with a leaf that is about full, and free blocks of the volume.
fn almost_full() -> (Arc<MemDevice>, Ino, Vec<u64>, BTreeMap<Vec<u8>, Ino>) {
    let device = format(common::BLOCKS);
    let fs: Mount<Xv6> = mount(&device);
    let dir = fs.mkdir(fs.root(), b"dir", 0o700).expect("mkdir").ino();
    let mut names = BTreeMap::new();
    for i in 0..14u8 {
        let name = vec![b'a' + i; 255];
        let new = NewNode::new(Kind::Regular, 0o600);
        names.insert(
            name.clone(),
            fs.create(dir, &name, &new).expect("create").ino(),
        );
    }
    assert_eq!(fs.stat(dir).expect("stat").attributes.size, 4096);
    fs.umount().expect("umount");
    let free = (0..8).map(|i| common::BLOCKS - 100 + i).collect();
    (device, dir, free, names)
}

/// An insertion that splits a node at each level, and a removal that frees one at each level, keep
/// to their credits.
#[test]
fn deepest_tree() {
    for (levels, full) in [(4, 3), (4, 0), (3, 3), (3, 2), (4, 4), (1, 1)] {
        let (device, dir, free, mut names) = almost_full();
        build_tower(&device, dir, levels, full, &free);
        let fs: Mount<Xv6> = mount(&device);
        assert_eq!(
            fs.lookup(dir, &[b'c'; 255]).expect("lookup").ino(),
            names[&vec![b'c'; 255]]
        );
        let name = vec![b'z'; 255];
        let before = fs.stat(dir).expect("stat").attributes;
        let made = fs.create(dir, &name, &NewNode::new(Kind::Regular, 0o600));
        let after = fs.stat(dir).expect("stat").attributes;
        if full == MAX_DIR_LEVEL {
            // No room at the top.
            assert_eq!(made.err(), Some(ENOSPC));
            assert_eq!(after, before);
        } else {
            names.insert(name, made.expect("create").ino());
            let grown = u64::from(1 + full.min(levels) + u16::from(full == levels));
            assert_eq!(after.size, before.size + grown * 4096);
        }
        for (name, ino) in &names {
            assert_eq!(fs.lookup(dir, name).expect("lookup").ino(), *ino);
        }
        no_complaints(&fs);
        // The last leaf goes with all that stands above it.
        if full == 0 {
            let old = vec![b'z'; 255];
            let new = vec![b'y'; 255];
            fs.rename(dir, &old, dir, &new, RenameMode::Replace)
                .expect("rename");
            for name in names.keys().filter(|name| **name != old) {
                fs.unlink(dir, name).expect("unlink");
            }
            fs.unlink(dir, &new).expect("unlink");
            assert!(list(&fs, dir, 4096).is_empty());
            assert_eq!(fs.stat(dir).expect("stat").attributes.size, 0);
            fs.rmdir(fs.root(), b"dir").expect("rmdir");
            no_complaints(&fs);
            fs.umount().expect("umount");
            // In the other towers, children that are never read stand in many places.
            common::fsck(&*device);
        }
    }
}

/// Whatever a directory holds, operations come to an end with a result or an error.
#[test]
fn damaged() {
    let mut random = Random(7);
    let device = format(common::BLOCKS);
    let fs: Mount<Xv6> = mount(&device);
    let dir = fs.mkdir(fs.root(), b"dir", 0o700).expect("mkdir").ino();
    for i in 0..900 {
        fs.create(dir, &name(i), &NewNode::new(Kind::Regular, 0o600))
            .expect("create");
    }
    let other = fs.mkdir(fs.root(), b"other", 0o700).expect("mkdir").ino();
    fs.umount().expect("umount");
    let (number, offset) = super_block(&device).geometry().inode_place(dir);
    let record: RawInode = RawBlock::read(&device, number).get(offset);
    let root = dir_root(&record);
    assert_eq!(root.level.get(), 1);
    let node = RawBlock::read(&device, root.block.get());
    let count = node.get::<BlockHeader>(0).count.get();
    let children: Vec<u64> = (0..usize::from(count))
        .map(|place| node.get::<DirIndex>(NODE_HEADER + 16 * place).block.get())
        .collect();

    let (mut damage, mut errors) = (0, 0);
    for round in 0..1500 {
        let device = Arc::new((*device).clone());
        if round % 10 == 0 {
            change_record(&device, dir, |record| {
                let at = random.below(size_of::<DirRoot>() as u64) as usize;
                record.root[at] ^= 1 << random.below(8);
            });
        } else {
            let target = match random.below(3) {
                0 => root.block.get(),
                _ => children[random.below(children.len() as u64) as usize],
            };
            let mut block = RawBlock::read(&device, target);
            for _ in 0..1 + random.below(3) {
                let at = match random.below(3) {
                    // The header, the first entries, anything.
                    0 => 24 + random.below(12),
                    1 => NODE_HEADER as u64 + random.below(64),
                    _ => random.below(BLOCK_SIZE as u64),
                } as usize;
                block.bytes[at] = match random.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => block.bytes[at] ^ (1 << random.below(8)),
                    _ => random.next() as u8,
                };
            }
            if random.below(8) == 0 {
                // A child that is another node.
                let place = NODE_HEADER + 16 * random.below(count.into()) as usize;
                block.put(
                    place + 8,
                    &zerocopy::little_endian::U64::new(root.block.get()),
                );
            }
            block.write(&device);
        }
        let options = MountOptions {
            errors: kernel::user::Errors::Continue,
            ..MountOptions::default()
        };
        let _quiet = kernel::print::Capture::start();
        let fs: Mount<Xv6> = Mount::mount(device, &options).expect("mount");
        let mut results = Vec::new();
        let mut position = 0;
        for step in 0.. {
            assert!(step < 10_000, "reading never ends");
            match fs.read_dir(dir, position) {
                Ok(entries) => match entries.last() {
                    Some(last) => position = last.next,
                    None => break,
                },
                Err(error) => {
                    results.push(Err(error));
                    break;
                }
            }
        }
        for i in 0..60 {
            let (old, new) = (name(random.below(900)), name(1000 + i));
            results.push(fs.lookup(dir, &old).map(drop));
            let new_node = NewNode::new(Kind::Regular, 0o600);
            results.push(fs.create(dir, &new, &new_node).map(drop));
            results.push(fs.unlink(dir, &old));
            let (from, to) = (name(random.below(900)), name(2000 + i));
            results.push(fs.rename(dir, &from, other, &to, RenameMode::Replace));
            let (from, to) = (name(random.below(900)), name(3000 + i));
            results.push(fs.rename(dir, &from, dir, &to, RenameMode::Replace));
        }
        for result in results {
            if let Err(error) = result {
                assert!(
                    [EUCLEAN, ENOENT, EEXIST, ENOSPC].contains(&error),
                    "{error:?}"
                );
                errors += u64::from(error == EUCLEAN);
            }
        }
        assert_eq!(fs.breaches(), 0);
        damage += u64::from(fs.damage() > 0);
    }
    // Or this would test nothing.
    assert!(
        damage > 700 && errors > damage,
        "{damage} of 1500 rounds, {errors} errors"
    );
}
