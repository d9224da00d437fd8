// SPDX-License-Identifier: GPL-2.0

//! All short sequences of operations over a small tree.
//!
//! "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing" (OSDI '18) found that most
//! known crash bugs need no more than two operations on few files, each followed by a sync of some
//! kind. These are those sequences: its operations on files and names, with arguments chosen so
//! that they meet each other.

use super::op::{
    Op,
    Target, //
};
use kernel::user::RenameMode;

const DIR: &[u8] = &[0];
const OTHER: &[u8] = &[1];
const FILE: &[u8] = &[2];
const INNER: &[u8] = &[0, 2];
const NEW: &[u8] = &[3];
const NEW_INNER: &[u8] = &[0, 3];

/// What each sequence begins with: two directories, a file of some blocks in the root, one with a
/// preallocated rest in a directory.
pub fn setup() -> Vec<Op> {
    let path = |path: &[u8]| path.to_vec();
    vec![
        Op::Mkdir(path(DIR)),
        Op::Mkdir(path(OTHER)),
        Op::Create(path(FILE)),
        Op::Write(on(FILE), 0, 9000, 1),
        Op::Create(path(INNER)),
        Op::Write(on(INNER), 0, 5000, 2),
        Op::Allocate(on(INNER), 0, 20_000, true),
        Op::Sync,
    ]
}

fn on(path: &[u8]) -> Target {
    Target::Path(path.to_vec())
}

/// The operations, each with what a sync after it is asked of.
pub fn operations() -> Vec<(Op, Target)> {
    let path = |path: &[u8]| path.to_vec();
    let create = |new| (Op::Create(path(new)), on(new));
    let link = |old, new| (Op::Link(on(old), path(new)), on(new));
    let unlink = |name, dir| (Op::Unlink(path(name)), on(dir));
    let rename = |old, new, mode| (Op::Rename(path(old), path(new), mode), on(new));
    let write = |file, offset, len| (Op::Write(on(file), offset, len, 7), on(file));
    let truncate = |file, size| (Op::Truncate(on(file), size), on(file));
    vec![
        create(NEW),
        create(NEW_INNER),
        (Op::Mkdir(path(NEW)), on(NEW)),
        link(FILE, NEW),
        link(FILE, NEW_INNER),
        unlink(FILE, &[]),
        unlink(INNER, DIR),
        rename(FILE, NEW, RenameMode::Replace),
        rename(FILE, INNER, RenameMode::Replace),
        rename(INNER, FILE, RenameMode::Replace),
        rename(INNER, &[1, 3], RenameMode::Replace),
        rename(DIR, &[1, 0], RenameMode::Replace),
        rename(FILE, INNER, RenameMode::Exchange),
        // Blocks that are there, in part; behind the end; far behind it; and the preallocated.
        write(FILE, 3000, 3000),
        (Op::Append(on(FILE), 6000, 8), on(FILE)),
        write(FILE, 40_000, 100),
        write(INNER, 4096, 8192),
        truncate(FILE, 0),
        truncate(FILE, 4500),
        truncate(INNER, 30_000),
        (Op::Allocate(on(FILE), 8192, 20_000, false), on(FILE)),
        (Op::Allocate(on(FILE), 8192, 20_000, true), on(FILE)),
        (Op::Punch(on(FILE), 2000, 4500), on(FILE)),
        (Op::Zero(on(INNER), 1000, 9000, false), on(INNER)),
    ]
}

/// A sync of some kind.
fn syncs(target: &Target) -> [Op; 3] {
    [
        Op::Fsync(target.clone()),
        Op::Fdatasync(target.clone()),
        Op::Sync,
    ]
}

/// Number of sequences of two operations.
pub fn count() -> usize {
    operations().len() * operations().len() * 12
}

/// A sequence: an operation, nothing or a sync of some kind, another operation, a sync.
pub fn sequence(number: usize) -> Vec<Op> {
    let operations = operations();
    let some = operations.len();
    let (first, first_on) = &operations[number % some];
    let (second, second_on) = &operations[number / some % some];
    let rest = number / some / some % 12;
    let mut sequence = vec![first.clone()];
    sequence.extend(syncs(first_on).get(rest % 4).cloned());
    sequence.push(second.clone());
    sequence.push(syncs(second_on)[rest / 4].clone());
    sequence
}
