// SPDX-License-Identifier: GPL-2.0

//! Random operations against a simple model in memory: with remounts, crashes, full volumes,
//! injected errors and truncated images.
//!
//! `PROPTEST_CASES` sets how many sequences are tried, `BENTO_LONG=1` tries many. A sequence that
//! fails is made as short as can be and printed: it becomes a test here.

mod common;

use bento_testing::{
    is_long,
    workload::{
        ace,
        guarded,
        Injected,
        Op,
        Path,
        Player,
        Target,
        Verdict,
        World,
        SLOTS, //
    },
};
use kernel::{
    print::Capture,
    user::{
        device::{
            Device,
            MemDevice,
            BLOCK_SIZE, //
        },
        Mount,
        MountOptions,
        RenameMode, //
    },
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{
        FileFailurePersistence,
        RngSeed, //
    },
};
use std::sync::{
    Arc,
    LazyLock, //
};
use xv6::Xv6;
use xv6_utils::mkfs::MkfsOptions;

/// Blocks of a volume.
const VOLUME: u64 = 4096;

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let options = MkfsOptions {
        inodes: Some(64),
        ..MkfsOptions::default()
    };
    let start = MemDevice::clone(&common::format_with(VOLUME, &options));
    World::new::<Xv6>(start, common::check).unwrap()
});

fn config(short: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default.cases,
        None if is_long() => 40 * short,
        None => short,
    };
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        max_shrink_iters: 4000,
        // In the short form the same each time.
        rng_seed: match is_long() {
            true => RngSeed::Random,
            false => RngSeed::Fixed(1),
        },
        ..default
    }
}

fn path() -> impl Strategy<Value = Path> {
    // Few names, so that operations meet; at times a long one. What `ace::setup` makes is `a`, `b`,
    // `c` and `a/c`.
    let name = prop_oneof![8 => 0u8..4, 1 => 4u8..7];
    prop_oneof![
        3 => vec(name.clone(), 1..2),
        3 => (0u8..2, name.clone()).prop_map(|(dir, name)| vec![dir, name]),
        1 => vec(name, 2..4),
    ]
}

fn slot() -> impl Strategy<Value = u8> {
    0..SLOTS as u8
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        4 => Just(Target::Path(vec![2])),
        2 => Just(Target::Path(vec![0, 2])),
        3 => path().prop_map(Target::Path),
        2 => slot().prop_map(Target::Open),
    ]
}

/// Offsets and sizes, many of them about where blocks end.
fn offset() -> impl Strategy<Value = u32> {
    prop_oneof![
        2 => 0u32..20_000,
        1 => 0u32..300_000,
        2 => (0u32..20).prop_map(|block| block * 4096),
        1 => (1u32..20, 0u32..3).prop_map(|(block, by)| block * 4096 + by - 1),
    ]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![2 => 0u32..10_000, 1 => 0u32..70_000, 1 => (0u32..8).prop_map(|len| len * 4096)]
}

fn names() -> impl Strategy<Value = Op> {
    let mode = prop_oneof![
        4 => Just(RenameMode::Replace),
        1 => Just(RenameMode::NoReplace),
        2 => Just(RenameMode::Exchange),
    ];
    prop_oneof![
        5 => path().prop_map(Op::Create),
        4 => path().prop_map(Op::Mkdir),
        1 => (path(), 1u16..4096).prop_map(|(path, len)| Op::Symlink(path, len)),
        1 => path().prop_map(Op::Mknod),
        1 => slot().prop_map(Op::Tmpfile),
        2 => (target(), path()).prop_map(|(target, path)| Op::Link(target, path)),
        3 => path().prop_map(Op::Unlink),
        2 => path().prop_map(Op::Rmdir),
        5 => (path(), path(), mode).prop_map(|(old, new, mode)| Op::Rename(old, new, mode)),
        2 => (path(), slot()).prop_map(|(path, slot)| Op::Open(path, slot)),
        1 => slot().prop_map(Op::Close),
        1 => (target(), any::<u16>()).prop_map(|(target, mode)| Op::Chmod(target, mode)),
        1 => (target(), any::<u16>(), any::<u16>()).prop_map(|(t, u, g)| Op::Chown(t, u, g)),
    ]
}

fn data() -> impl Strategy<Value = Op> {
    let range = || (target(), offset(), length());
    prop_oneof![
        5 => (range(), any::<u8>()).prop_map(|((t, o, l), seed)| Op::Write(t, o, l, seed)),
        2 => (target(), length(), any::<u8>()).prop_map(|(t, l, seed)| Op::Append(t, l, seed)),
        3 => (target(), offset()).prop_map(|(t, size)| Op::Truncate(t, size)),
        2 => (range(), any::<bool>()).prop_map(|((t, o, l), keep)| Op::Allocate(t, o, l, keep)),
        2 => range().prop_map(|(t, o, l)| Op::Punch(t, o, l)),
        2 => (range(), any::<bool>()).prop_map(|((t, o, l), keep)| Op::Zero(t, o, l, keep)),
        2 => range().prop_map(|(t, o, l)| Op::Read(t, o, l)),
        1 => (target(), offset()).prop_map(|(t, o)| Op::SeekData(t, o)),
        1 => (target(), offset()).prop_map(|(t, o)| Op::SeekHole(t, o)),
    ]
}

fn syncs() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => target().prop_map(Op::Fsync),
        2 => target().prop_map(Op::Fdatasync),
        1 => Just(Op::Sync),
        1 => Just(Op::Commit),
    ]
}

fn operation() -> impl Strategy<Value = Op> {
    prop_oneof![5 => names(), 8 => data(), 2 => syncs(), 1 => Just(Op::Remount)]
}

fn injected() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0u16..30).prop_map(Injected::Allocation),
        (0u16..30).prop_map(Injected::Read),
        (0u16..20).prop_map(Injected::Access),
        (0u16..20).prop_map(Injected::Store),
    ]
    .prop_map(Op::Inject)
}

/// Plays a sequence to its end.
fn play(ops: &[Op]) -> Verdict {
    let _quiet = Capture::start();
    guarded(|| {
        let mut player = Player::<Xv6>::new(&WORLD)?;
        for (number, op) in ace::setup().iter().chain(ops).enumerate() {
            player.step(op).map_err(|how| format!("{number}: {how}"))?;
        }
        player.finish()
    })
}

fn tried(ops: &[Op]) -> Result<(), TestCaseError> {
    play(ops).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn operations(ops in vec(operation(), 1..80)) {
        tried(&ops)?;
    }

    #[test]
    fn crashes(ops in vec(prop_oneof![
        12 => operation(),
        1 => any::<u32>().prop_map(Op::Crash),
    ], 1..60)) {
        tried(&ops)?;
    }

    #[test]
    fn errors(ops in vec((operation(), proptest::option::weighted(0.3, injected())), 1..40)) {
        let ops = ops.into_iter().flat_map(|(op, fault)| fault.into_iter().chain([op]));
        tried(&ops.collect::<Vec<_>>())?;
    }

    #[test]
    fn full(leave in 0u64..200, ops in vec(prop_oneof![
        12 => operation(),
        1 => any::<u32>().prop_map(Op::Crash),
    ], 1..60)) {
        let ballast = Target::Path(vec![6]);
        let len = (WORLD.fresh.available_blocks - leave - 2) * BLOCK_SIZE as u64;
        let first = [Op::Create(vec![6]), Op::Allocate(ballast, 0, len as u32, true)];
        tried(&[&first[..], &ops].concat())?;
    }

    #[test]
    fn truncated_images(ops in vec(operation(), 1..20), blocks in 0..VOLUME, crash in any::<bool>()) {
        let _quiet = Capture::start();
        let mut player = Player::<Xv6>::new(&WORLD).map_err(TestCaseError::fail)?;
        for op in &ops {
            player.step(op).map_err(TestCaseError::fail)?;
        }
        if !crash {
            player.step(&Op::Remount).map_err(TestCaseError::fail)?;
        }
        let cut = MemDevice::new(blocks);
        let whole = player.device().content();
        let mut data = [0; BLOCK_SIZE];
        for block in 0..blocks {
            whole.read(block, &mut data).unwrap();
            cut.write(block, &data).unwrap();
        }
        let cut = Arc::new(cut);
        prop_assert!(common::check(&*cut).is_err());
        prop_assert!(Mount::<Xv6>::mount(cut, &MountOptions::default()).is_err());
    }
}

/// Sequences that failed once, as short as they can be.
#[test]
fn regressions() {
    let file = || Target::Path(vec![2]);
    let once: &[&[Op]] = &[
        // A cut that failed halfway left its orphan on a volume that was marked as clean.
        &[Op::Inject(Injected::Access(2)), Op::Truncate(file(), 0)],
    ];
    for ops in once {
        play(ops).unwrap_or_else(|how| panic!("{ops:?}: {how}"));
    }
}
