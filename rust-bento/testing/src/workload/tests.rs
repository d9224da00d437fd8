// SPDX-License-Identifier: GPL-2.0

//! Tests of what crash tests are judged by.

use super::{
    history::could_stand,
    model::Body,
    *, //
};

/// Done to a model alone: what it was, and is.
fn model(ops: &[Op]) -> (Model, Model) {
    let mut model = Model::default();
    let mut before = model.clone();
    for op in ops {
        before = model.clone();
        model.apply(op).expect("op");
    }
    (before, model)
}

fn file() -> Target {
    Target::Path(vec![0])
}

fn steps(ops: &[Op]) -> Vec<usize> {
    let (before, after) = model(ops);
    let id = after.find(&[0]).expect("file");
    let Body::File(whole) = &after.node(id).body else {
        panic!("no file");
    };
    let steps = before.steps_to(&after, id);
    let contents = steps.iter().map(|step| match &step.node(id).body {
        Body::File(content) => content,
        other => panic!("{other:?}"),
    });
    contents
        .inspect(|content| assert!(content.shares(whole), "a step has bytes of its own"))
        .map(|content| content.len())
        .collect()
}

#[test]
fn a_write_goes_through_few_steps_that_share_their_bytes() {
    let create = Op::Create(vec![0]);
    let append = [create.clone(), Op::Append(file(), 10_000, 1)];
    assert_eq!(steps(&append), [4096, 8192]);
    // A hole is skipped at once.
    let behind = [create.clone(), Op::Write(file(), 1_000_000, 10_000, 1)];
    assert_eq!(steps(&behind), [1_003_520, 1_007_616]);
    // Below the end nothing grows.
    let within = [
        create,
        Op::Truncate(file(), 1_000_000),
        Op::Write(file(), 4000, 10_000, 1),
    ];
    assert_eq!(steps(&within), [0; 0]);
}

#[test]
fn a_block_holds_the_newest_bytes_first() {
    // Cut and written at the end, twice.
    let versions: [&[u8]; 3] = [b"aaaaaaaa", b"aabbbb", b"aacc"];
    let stands = |found: &[u8]| {
        let mut newest = 1..=versions.len();
        newest.any(|newest| could_stand(&versions[..newest], 0, found))
    };
    for right in [
        &b"aaccbbaa"[..],
        b"aacc\0\0\0\0",
        b"aaccbb\0\0",
        b"aabbbbaa",
        b"aabbbb\0\0",
        b"aaaaaaaa",
        // What punches holes does so behind the end.
        b"aacc\0\0aa",
        b"aacc",
        b"",
    ] {
        assert!(stands(right), "{}", right.escape_ascii());
    }
    for wrong in [
        // A version that was overwritten shows.
        &b"aaccaaaa"[..],
        b"aaaacbaa",
        b"aacbbbaa",
        b"aa\0\0bbaa",
        // The newest bytes are behind others.
        b"aaaabbaa",
        b"aaccbbxx",
    ] {
        assert!(!stands(wrong), "{}", wrong.escape_ascii());
    }
}
