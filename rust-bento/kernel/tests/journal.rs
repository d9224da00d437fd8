// SPDX-License-Identifier: GPL-2.0

//! The journal: what was committed is there after a crash, and nothing else.

use kernel::{
    bento::{
        BlockUse,
        JournalArea,
        Space, //
    },
    error::{
        code::*,
        Result, //
    },
    print::Capture,
    user::{
        device::{
            Device,
            MemDevice,
            BLOCK_SIZE, //
        },
        fault::{
            Fault,
            Point, //
        },
        journal,
        Session, //
    },
};
use std::sync::Arc;

const AREA: JournalArea = JournalArea {
    start: 10,
    len: 1024,
};
const BLOCKS: u64 = 4096;
const DATA: u64 = 2000;

fn device() -> Arc<MemDevice> {
    let device = MemDevice::new(BLOCKS);
    journal::mkjournal(&device, AREA.start, AREA.len, *b"0123456789abcdef").unwrap();
    Arc::new(device)
}

fn open(device: &Arc<MemDevice>) -> Result<Session> {
    let session = Session::new(device.clone());
    session.replay(AREA)?;
    session.open_journal(AREA)?;
    let space = Space {
        total_blocks: BLOCKS,
        free_blocks: 1000,
        total_inodes: 100,
        free_inodes: 100,
    };
    session.set_space(&space, 0);
    Ok(session)
}

fn store(session: &Session, block: u64, value: u64) -> Result {
    session.transact(1, 0, |handle| {
        let buffer = handle.volume().read(block)?;
        handle.write(&buffer)?.store(8, &value)
    })
}

fn on_disk(device: &MemDevice, block: u64) -> u64 {
    let mut bytes = [0; BLOCK_SIZE];
    device.read(block, &mut bytes).unwrap();
    u64::from_ne_bytes(bytes[8..16].try_into().unwrap())
}

fn in_cache(session: &Session, block: u64) -> u64 {
    session.volume().read(block).unwrap().load(8).unwrap()
}

#[test]
fn committed_is_replayed_and_the_rest_is_not() {
    let device = device();
    let session = open(&device).unwrap();
    for block in DATA..DATA + 600 {
        store(&session, block, block).unwrap();
        if block % 100 == 0 {
            session.commit().unwrap();
        }
    }
    session.commit().unwrap();
    store(&session, DATA, 7).unwrap();
    assert_eq!(in_cache(&session, DATA), 7);
    // A crash.
    drop(session);
    assert_eq!(on_disk(&device, DATA + 599), 0);

    let session = open(&device).unwrap();
    for block in DATA..DATA + 600 {
        assert_eq!(in_cache(&session, block), block);
        assert_eq!(on_disk(&device, block), block);
    }
}

#[test]
fn replay_counts_and_is_needed_once() {
    let device = device();
    assert!(!journal::needs_replay(&device, AREA.start, AREA.len).unwrap());
    let session = open(&device).unwrap();
    for round in 0..3 {
        store(&session, DATA + round, 1).unwrap();
        session.commit().unwrap();
    }
    // Nothing has been done: no number is used up.
    session.commit().unwrap();
    store(&session, DATA + 3, 1).unwrap();
    session.commit().unwrap();
    drop(session);
    assert!(journal::needs_replay(&device, AREA.start, AREA.len).unwrap());
    let replayed = journal::replay(&device, AREA.start, AREA.len).unwrap();
    assert_eq!((replayed.transactions, replayed.blocks), (4, 4));
    assert!(!journal::needs_replay(&device, AREA.start, AREA.len).unwrap());
    let replayed = journal::replay(&device, AREA.start, AREA.len).unwrap();
    assert_eq!(replayed.transactions, 0);
}

#[test]
fn the_ring_is_used_many_times() {
    let device = device();
    let mut value = 0;
    for crash in 0..5 {
        let session = open(&device).unwrap();
        for _ in 0..400 {
            value += 1;
            for block in 0..5 {
                store(&session, DATA + (value + block) % 64, value).unwrap();
            }
            session.commit().unwrap();
        }
        if crash % 2 == 0 {
            session.close().unwrap();
        }
    }
    let session = open(&device).unwrap();
    for block in 0..5 {
        assert_eq!(in_cache(&session, DATA + (value + block) % 64), value);
    }
}

#[test]
fn closing_leaves_nothing_to_replay() {
    let device = device();
    let session = open(&device).unwrap();
    store(&session, DATA, 5).unwrap();
    session.close().unwrap();
    assert_eq!(store(&session, DATA, 6), Err(EROFS));
    assert_eq!(on_disk(&device, DATA), 5);
    assert!(!journal::needs_replay(&device, AREA.start, AREA.len).unwrap());
}

#[test]
fn a_freed_block_is_not_replayed() {
    let device = device();
    let session = open(&device).unwrap();
    store(&session, DATA, 5).unwrap();
    store(&session, DATA + 1, 5).unwrap();
    session.commit().unwrap();
    session
        .transact(1, 1, |handle| {
            handle.free(DATA, 1, BlockUse::Metadata)?;
            let buffer = handle.volume().read(DATA + 1)?;
            handle.write(&buffer)?.store(8, &6u64)
        })
        .unwrap();
    // Not to be had before the commit.
    let claim = |session: &Session| {
        session.transact(1, 0, |handle| {
            let claimed = handle.claims().claim(DATA, 1)?;
            handle.claims().unclaim(DATA, claimed);
            Ok(claimed)
        })
    };
    assert_eq!(claim(&session), Ok(0));
    session.commit().unwrap();
    assert_eq!(claim(&session), Ok(1));
    // Its next owner is a file.
    device.write(DATA, &[9; BLOCK_SIZE]).unwrap();
    drop(session);

    let replayed = journal::replay(&device, AREA.start, AREA.len).unwrap();
    assert_eq!(replayed.revoked, 1);
    assert_eq!(on_disk(&device, DATA), u64::from_ne_bytes([9; 8]));
    assert_eq!(on_disk(&device, DATA + 1), 6);
}

#[test]
fn a_freed_block_can_be_metadata_again() {
    let device = device();
    let session = open(&device).unwrap();
    store(&session, DATA, 5).unwrap();
    session.commit().unwrap();
    session
        .transact(2, 1, |handle| handle.free(DATA, 1, BlockUse::Metadata))
        .unwrap();
    session.commit().unwrap();
    session
        .transact(1, 0, |handle| {
            assert_eq!(handle.claims().claim(DATA, 1)?, 1);
            handle.create(DATA)?.store(8, &7u64)
        })
        .unwrap();
    session.commit().unwrap();
    drop(session);
    let session = open(&device).unwrap();
    assert_eq!(in_cache(&session, DATA), 7);
}

#[test]
fn a_block_that_looks_like_the_journals_own_is_escaped() {
    let device = device();
    let session = open(&device).unwrap();
    let magic = 0xc03b_3998_u32.to_be_bytes();
    session
        .transact(1, 0, |handle| {
            handle.create(DATA)?.write(0, &magic)?;
            Ok(())
        })
        .unwrap();
    session.commit().unwrap();
    drop(session);
    let session = open(&device).unwrap();
    assert!(session.volume().read(DATA).unwrap().equals(0, &magic));
    // And by a checkpoint.
    session
        .transact(1, 0, |handle| {
            handle.create(DATA + 1)?.write(0, &magic)?;
            Ok(())
        })
        .unwrap();
    session.close().unwrap();
    let mut bytes = [0; BLOCK_SIZE];
    device.read(DATA + 1, &mut bytes).unwrap();
    assert_eq!(bytes[..4], magic);
}

#[test]
fn an_error_before_the_first_store_leaves_everything() {
    let device = device();
    let session = open(&device).unwrap();
    let result: Result = session.transact(2, 1, |handle| {
        assert_eq!(handle.claims().claim(DATA, 10)?, 10);
        handle.free(DATA + 20, 1, BlockUse::Metadata)?;
        let buffer = handle.volume().read(DATA + 1)?;
        let _writable = handle.write(&buffer)?;
        Err(ENOSPC)
    });
    assert_eq!(result, Err(ENOSPC));
    store(&session, DATA, 1).unwrap();
    let all = session.transact(1, 0, |handle| handle.claims().claim(DATA, 21));
    assert_eq!(all, Ok(21));
}

#[test]
fn an_error_behind_the_first_store_aborts() {
    let device = device();
    let session = open(&device).unwrap();
    store(&session, DATA, 1).unwrap();
    session.commit().unwrap();
    let capture = Capture::start();
    let result: Result = session.transact(2, 0, |handle| {
        handle.create(DATA)?.store(8, &2u64)?;
        Err(ENOMEM)
    });
    assert_eq!(result, Err(ENOMEM));
    assert!(capture.take()[0].1.contains("aborted"));
    assert_eq!(store(&session, DATA + 1, 1), Err(EROFS));
    assert_eq!(session.commit(), Err(EIO));
    drop(session);
    let session = open(&device).unwrap();
    assert_eq!(in_cache(&session, DATA), 1);
}

#[test]
fn injected_faults_come_where_they_are_asked_for() {
    let device = device();
    let session = open(&device).unwrap();
    let fault = Fault::at(Point::Access, 1);
    store(&session, DATA, 1).unwrap();
    assert_eq!(store(&session, DATA, 2), Err(ENOMEM));
    assert!(fault.happened());
    store(&session, DATA, 3).unwrap();
    drop(fault);
    let _fault = Fault::at(Point::Store, 0);
    assert_eq!(store(&session, DATA, 4), Err(EIO));
    assert_eq!(in_cache(&session, DATA), 3);
}

#[test]
fn credits_are_counted() {
    let device = device();
    let session = open(&device).unwrap();
    let _capture = Capture::start();
    let result = session.transact(1, 0, |handle| {
        handle.create(DATA)?;
        handle.create(DATA)?;
        handle.create(DATA + 1).map(drop)
    });
    assert_eq!(result, Err(ENOSPC));
    assert_eq!(session.breaches(), 1);
    assert_eq!(session.transact(1024, 0, |_| Ok(())), Err(ENOSPC));
}

#[test]
fn damage_in_the_log_is_seen() {
    let device = device();
    let session = open(&device).unwrap();
    store(&session, DATA, 1).unwrap();
    session.commit().unwrap();
    drop(session);
    let _capture = Capture::start();
    // Super block, descriptor, copy, commit block.
    for (block, expected) in [
        (AREA.start, Err(EUCLEAN)),
        (AREA.start + 1, Err(EUCLEAN)),
        (AREA.start + 2, Err(EUCLEAN)),
        (AREA.start + 3, Err(EUCLEAN)),
        (AREA.start + 4, Ok(1)),
    ] {
        let damaged = MemDevice::clone(&device);
        let mut bytes = [0; BLOCK_SIZE];
        damaged.read(block, &mut bytes).unwrap();
        bytes[100] ^= 1;
        damaged.write(block, &bytes).unwrap();
        let result = journal::replay(&damaged, AREA.start, AREA.len);
        assert_eq!(result.map(|replayed| replayed.transactions), expected);
    }
}

#[test]
fn many_threads_commit_together() {
    let device = device();
    let session = open(&device).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let session = &session;
            scope.spawn(move || {
                for round in 1..=200u64 {
                    for block in 0..4 {
                        store(session, DATA + thread * 4 + block, round).unwrap();
                    }
                    if round % 5 == 0 {
                        session.commit().unwrap();
                    }
                }
            });
        }
    });
    drop(session);
    let session = open(&device).unwrap();
    for block in 0..16 {
        assert_eq!(in_cache(&session, DATA + block), 200);
    }
}
