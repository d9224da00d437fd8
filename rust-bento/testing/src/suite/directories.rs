// SPDX-License-Identifier: GPL-2.0

//! Directories: made, removed, read while they change.

use super::{
    helpers::*,
    Test, //
};
use crate::system::*;
use std::collections::{
    BTreeMap,
    BTreeSet, //
};

pub fn tests<S: System>() -> Vec<Test<S>> {
    vec![
        Test::new("directory-links", links),
        Test::new("directory-not-empty", not_empty),
        Test::new("directory-deep", deep),
        Test::new("directory-model", model),
        Test::new("directory-shrinks-to-nothing", shrinks),
        Test::new("readdir-while-changing", while_changing),
        Test::new("readdir-positions", positions),
        Test::new("readdir-entries-tell-the-truth", truth),
    ]
}

fn links<S: System>(s: &S) {
    s.mkdir(b"dir", 0o700).expect("mkdir");
    for i in 0..50 {
        s.mkdir(format!("dir/{i}").as_bytes(), 0o700)
            .expect("mkdir");
        s.create(format!("dir/file-{i}").as_bytes(), 0o600)
            .expect("create");
    }
    assert_eq!(s.stat(b"dir").expect("stat").nlink, 52);
    for i in 0..50 {
        assert_eq!(
            s.stat(format!("dir/{i}").as_bytes()).expect("stat").nlink,
            2
        );
        s.rmdir(format!("dir/{i}").as_bytes()).expect("rmdir");
    }
    assert_eq!(s.stat(b"dir").expect("stat").nlink, 2);
    assert_eq!(list(s, b"dir").len(), 50);
}

fn not_empty<S: System>(s: &S) {
    s.mkdir(b"dir", 0o700).expect("mkdir");
    s.create(b"dir/x", 0o600).expect("create");
    fails(s.rmdir(b"dir"), &[Errno::NOTEMPTY, Errno::EXIST]);
    s.unlink(b"dir/x").expect("unlink");
    s.rmdir(b"dir").expect("rmdir");
    fails(s.create(b"dir/x", 0o600), &[Errno::NOENT]);
}

fn deep<S: System>(s: &S) {
    let mut path = b"d".to_vec();
    s.mkdir(&path, 0o700).expect("mkdir");
    for _ in 0..100 {
        path.extend(b"/d");
        s.mkdir(&path, 0o700).expect("mkdir");
    }
    put(s, &[&path[..], b"/file"].concat(), b"deep");
    assert_eq!(get(s, &[&path[..], b"/file"].concat()), b"deep");
    s.unlink(&[&path[..], b"/file"].concat()).expect("unlink");
    while path.len() > 1 {
        s.rmdir(&path).expect("rmdir");
        path.truncate(path.len() - 2);
    }
}

/// Random changes, compared with a map.
fn model<S: System>(s: &S) {
    let mut model: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let random = pattern(42, 6 * 3000);
    for dice in random.chunks(6) {
        let number = u16::from_le_bytes([dice[0], dice[1]]) % 700;
        let name = |number: u16| {
            let len = 4 + usize::from(number) * 31 % 250;
            let mut name = format!("{number:03}-").into_bytes();
            name.resize(len.max(4), b'.');
            name
        };
        let path = name(number);
        match dice[2] % 8 {
            0..4 => match s.create(&path, 0o600) {
                Ok(file) => {
                    let ino = s.stat_file(&file).expect("stat").ino;
                    assert!(model.insert(path, ino).is_none(), "made although there");
                }
                Err(error) => {
                    assert_eq!(error, Errno::EXIST);
                    assert!(model.contains_key(&path));
                }
            },
            4..6 => match s.unlink(&path) {
                Ok(()) => assert!(model.remove(&path).is_some()),
                Err(error) => {
                    assert_eq!(error, Errno::NOENT);
                    assert!(!model.contains_key(&path));
                }
            },
            _ => {
                let new = name(u16::from_le_bytes([dice[3], dice[4]]) % 700);
                match s.rename(&path, &new, RenameMode::Plain) {
                    Ok(()) => {
                        let ino = model.remove(&path).expect("renamed what was not there");
                        model.insert(new, ino);
                    }
                    Err(error) => {
                        assert_eq!(error, Errno::NOENT);
                        assert!(!model.contains_key(&path));
                    }
                }
            }
        }
    }
    let all = list(s, b"");
    assert_eq!(all.len(), model.len());
    for entry in all {
        assert_eq!(model.get(&entry.name), Some(&entry.ino));
        assert_eq!(s.stat(&entry.name).expect("stat").ino, entry.ino);
    }
}

fn shrinks<S: System>(s: &S) {
    s.mkdir(b"dir", 0o700).expect("mkdir");
    let name = |i: u32| format!("dir/{i:0>200}").into_bytes();
    for round in 0..2 {
        for i in 0..1500 {
            s.create(&name(i), 0o600).expect("create");
        }
        assert_eq!(list(s, b"dir").len(), 1500);
        // In another order than they came.
        for i in 0..1500 {
            let i = if round == 0 { i * 7 % 1500 } else { 1499 - i };
            s.unlink(&name(i)).expect("unlink");
        }
        assert!(list(s, b"dir").is_empty());
    }
    s.rmdir(b"dir").expect("rmdir");
}

/// What was there all the time is read exactly once; nothing is read that never was.
fn while_changing<S: System>(s: &S) {
    const STABLE: u32 = 1500;
    let stable = |i: u32| format!("stable-{i}").into_bytes();
    for i in 0..STABLE {
        s.create(&stable(i), 0o600).expect("create");
    }
    for i in 0..500 {
        s.create(format!("going-{i}").as_bytes(), 0o600)
            .expect("create");
    }
    let (mut going, mut coming) = (0, 0);
    let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut position = 0;
    loop {
        let step = s.read_dir(b"", position).expect("read_dir");
        let Some(last) = step.last() else { break };
        position = last.next;
        for entry in step {
            *seen.entry(entry.name).or_default() += 1;
        }
        for _ in 0..20 {
            if coming < 1200 {
                s.create(
                    format!("coming-{coming}-{:0>90}", coming * 31).as_bytes(),
                    0o600,
                )
                .expect("create");
                coming += 1;
            }
            if going < 500 {
                s.unlink(format!("going-{going}").as_bytes())
                    .expect("unlink");
                going += 1;
            }
        }
    }
    for i in 0..STABLE {
        assert_eq!(seen.get(&stable(i)), Some(&1), "stable-{i}");
    }
    for (name, times) in &seen {
        assert_eq!(*times, 1, "{}", name.escape_ascii());
    }
}

/// A position leads to the entries behind it, also after others have gone.
fn positions<S: System>(s: &S) {
    for i in 0..800 {
        s.create(format!("name-{i}").as_bytes(), 0o600)
            .expect("create");
    }
    let all = list(s, b"");
    let positions: BTreeSet<u64> = all.iter().map(|entry| entry.next).collect();
    assert_eq!(positions.len(), all.len(), "two entries have one position");
    for index in [0, 1, 17, 399, 400, 797, 798] {
        let step = s.read_dir(b"", all[index].next).expect("read_dir");
        assert_eq!(step[0], all[index + 1]);
    }
    assert!(s.read_dir(b"", all[799].next).expect("read_dir").is_empty());
    for entry in &all[300..400] {
        s.unlink(&entry.name).expect("unlink");
    }
    let step = s.read_dir(b"", all[350].next).expect("read_dir");
    assert_eq!(step[0], all[400]);
}

fn truth<S: System>(s: &S) {
    s.mkdir(b"dir", 0o700).expect("mkdir");
    s.create(b"file", 0o600).expect("create");
    s.symlink(b"x", b"link").expect("symlink");
    s.mknod(b"fifo", Kind::Fifo, 0o600, (0, 0)).expect("mknod");
    s.rename(b"file", b"fifo", RenameMode::Exchange)
        .expect("rename");
    for entry in list(s, b"") {
        let stat = s.stat(&entry.name).expect("stat");
        assert_eq!((stat.ino, stat.kind), (entry.ino, entry.kind));
    }
}
