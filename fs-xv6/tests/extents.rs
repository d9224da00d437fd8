// SPDX-License-Identifier: GPL-2.0

//! The tree of extents against a model: what is mapped, what is free, and what fsck says of it.

mod common;

use bento_testing::is_long;
use common::world::{
    Random,
    World, //
};
use kernel::{
    bento::{
        Extent,
        FileRange,
        FileSystem,
        Intent,
        Mapping,
        Step, //
    },
    prelude::*, //
};
use std::collections::BTreeMap;

/// A file as it should be: the block of each of its blocks, and whether it is unwritten.
#[derive(Default)]
struct Model(BTreeMap<u64, (u64, bool)>);

struct File {
    world: World,
    ino: u64,
    model: Model,
}

impl File {
    fn new(world: World) -> Self {
        Self {
            ino: world.create(b"file"),
            world,
            model: Model::default(),
        }
    }

    /// The same file after a crash.
    fn remount(self) -> Self {
        Self {
            world: self.world.remount(),
            ..self
        }
    }

    /// Frees all, and nothing is left.
    fn finish(mut self) {
        self.free(0, u64::MAX);
        self.check();
        assert_eq!(self.world.sectors(self.ino), 0);
        self.world.finish();
    }

    fn look(&self, start: u64, end: u64) -> Mapping {
        let range = FileRange { start, end };
        self.world
            .transact(self.ino, |fs, handle, inode| {
                fs.map(
                    handle.volume(),
                    &handle.claims(),
                    inode,
                    range,
                    Intent::Look,
                )
            })
            .unwrap()
    }

    /// Gives blocks to a hole at the start of a range; true if there was one.
    fn fill(&mut self, start: u64, end: u64, unwritten: bool) -> bool {
        let range = FileRange { start, end };
        let mapping = self.world.transact(self.ino, |fs, handle, inode| {
            let claims = handle.claims();
            let mapping = fs.map(handle.volume(), &claims, inode, range, Intent::Allocate)?;
            if let Mapping::Claimed(extent) = mapping {
                fs.publish(
                    handle,
                    inode,
                    Extent {
                        unwritten,
                        ..extent
                    },
                )?;
            }
            Ok(mapping)
        });
        match mapping.unwrap() {
            Mapping::Claimed(extent) => {
                for i in 0..extent.len {
                    let old = self
                        .model
                        .0
                        .insert(extent.file_block + i, (extent.block + i, unwritten));
                    assert!(
                        old.is_none(),
                        "{extent:?} was claimed for a block that is mapped"
                    );
                }
                true
            }
            Mapping::Mapped(_) => {
                assert!(self.model.0.contains_key(&start));
                false
            }
            Mapping::Hole { .. } => panic!("a hole was not filled"),
        }
    }

    /// Makes what is unwritten at the start of a range written.
    fn convert(&mut self, start: u64, end: u64) {
        if let Mapping::Mapped(extent) = self.look(start, end) {
            let written = Extent {
                unwritten: false,
                ..extent
            };
            self.world
                .transact(self.ino, |fs, handle, inode| {
                    fs.publish(handle, inode, written)
                })
                .unwrap();
            for i in 0..extent.len {
                self.model.0.get_mut(&(start + i)).unwrap().1 = false;
            }
        }
    }

    fn free(&mut self, start: u64, end: u64) {
        let range = FileRange { start, end };
        let mut steps = 0;
        while self
            .world
            .transact(self.ino, |fs, handle, inode| {
                fs.free_blocks(handle, inode, range)
            })
            .unwrap()
            == Step::More
        {
            steps += 1;
            assert!(steps < 100_000, "freeing does not come to an end");
        }
        self.model
            .0
            .retain(|block, _| !(start..end).contains(block));
    }

    /// Compares all that is mapped.
    fn check(&self) {
        let mut expected = self.model.0.iter().peekable();
        let mut at = 0;
        let end = u32::MAX.into();
        while at < end {
            match self.look(at, end) {
                Mapping::Hole { len } => {
                    assert!(len > 0);
                    at += len;
                    let next = expected.peek().map_or(end, |(block, _)| **block);
                    assert!(at <= next, "a hole to {at}, but {next} is mapped");
                }
                Mapping::Mapped(extent) => {
                    assert_eq!(extent.file_block, at);
                    for i in 0..extent.len {
                        let found = (extent.block + i, extent.unwritten);
                        assert_eq!(expected.next(), Some((&(at + i), &found)));
                    }
                    at += extent.len;
                }
                Mapping::Claimed(_) => panic!("claimed by looking"),
            }
        }
        assert_eq!(expected.next(), None);
    }
}

#[test]
fn random_changes() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let mut file = File::new(World::new(40_000));
        // Of few blocks, so that changes meet each other; in two places, so that there are wide holes.
        for round in 0..4_000 {
            let base = [0, 3_000_000_000][random.below(2) as usize];
            let start = base + random.below(6_000);
            let bits = random.below(8);
            let end = start + 1 + random.below(1 << bits);
            match random.below(10) {
                0..=4 => {
                    file.fill(start, end, random.below(3) == 0);
                }
                5..=6 => file.convert(start, end),
                7..=8 => file.free(start, end),
                _ if round % 100 == 0 => file.free(start, start + random.below(3_000)),
                _ => {}
            }
            if round % 500 == 0 {
                file.check();
            }
        }
        file.check();
        file.finish();
    }
}

/// Every other block: as many extents as can be, in the given order; then all of it goes.
fn scattered(count: u64, order: impl Fn(u64) -> u64) {
    let mut file = File::new(World::new(4 * count + 20_000));
    for i in 0..count {
        let block = 2 * order(i);
        assert!(file.fill(block, block + 1, false));
    }
    file.check();
    // What is left of some nodes, then again more.
    file.free(count / 2, count);
    file.check();
    for i in 0..count / 8 {
        file.fill(count / 2 + 2 * i, count / 2 + 2 * i + 1, true);
    }
    file.check();
    let file = file.remount();
    file.check();
    file.finish();
}

#[test]
fn ascending() {
    scattered(4_000, |i| i);
}

#[test]
fn descending() {
    scattered(4_000, |i| 3_999 - i);
}

#[test]
fn mixed() {
    // 1777 has no common factor with 4000.
    scattered(4_000, |i| i * 1777 % 4_000);
}

/// Three levels of nodes in the long form, which takes a minute; else two.
#[test]
fn many() {
    let count = if is_long() { 400_000 } else { 10_000 };
    scattered(count, |i| i);
}

/// Two levels of nodes, of which all under the first of the upper ones goes: the next one is there
/// for what lies before its keys, and so is its first child.
#[test]
fn first_of_the_upper_nodes_goes() {
    let count = 64_000;
    let mut file = File::new(World::new(80_000));
    for i in 0..count {
        assert!(file.fill(2 * i, 2 * i + 1, false));
    }
    file.free(0, 2 * count - 100);
    file.check();
    let mut file = file.remount();
    for i in [0, 1, 1_000, count - 60] {
        assert!(file.fill(2 * i, 2 * i + 1, false));
    }
    file.check();
    file.free(0, 2_000);
    file.check();
    file.remount().finish();
}

/// Holes in the middle of one long extent: each makes one more of it.
#[test]
fn punched() {
    let mut file = File::new(World::new(40_000));
    let mut at = 0;
    while at < 8_000 {
        file.fill(at, 8_000, at % 2 == 0);
        at = file.model.0.len() as u64;
    }
    for i in 0..4_000 {
        file.free(2 * i, 2 * i + 1);
    }
    file.check();
    for i in 0..4_000 {
        file.convert(2 * i + 1, 2 * i + 2);
    }
    file.check();
    for i in 0..4_000 {
        file.fill(2 * i, 2 * i + 1, false);
    }
    file.check();
    file.remount().finish();
}

/// A full volume: an error, and nothing half done.
#[test]
fn no_space() {
    let mut file = File::new(World::new(4_096));
    let free = file.world.free_blocks();
    let mut at = 0;
    loop {
        let range = FileRange {
            start: at,
            end: at + 1,
        };
        let result = file.world.transact(file.ino, |fs, handle, inode| {
            let claims = handle.claims();
            let mapping = fs.map(handle.volume(), &claims, inode, range, Intent::Allocate)?;
            match mapping {
                Mapping::Claimed(extent) => fs.publish(handle, inode, extent).map(|()| extent),
                _ => Err(EIO),
            }
        });
        match result {
            Ok(extent) => {
                file.model.0.insert(at, (extent.block, false));
                at += 2;
            }
            Err(error) => {
                assert_eq!(error, ENOSPC);
                break;
            }
        }
    }
    assert!(at / 2 > free / 2, "full after {} of {free} blocks", at / 2);
    file.check();
    file.free(0, u64::MAX);
    file.world.commit();
    assert_eq!(file.world.free_blocks(), free);
    file.finish();
}
