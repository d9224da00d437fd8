// SPDX-License-Identifier: GPL-2.0

//! What several tests share.

use crate::system::*;

/// Makes a file with this content.
pub fn put<S: System>(system: &S, path: &[u8], content: &[u8]) -> S::File {
    let file = system.create(path, 0o644).expect("create");
    write_all(system, &file, 0, content);
    file
}

/// Writes all of it.
pub fn write_all<S: System>(system: &S, file: &S::File, offset: u64, bytes: &[u8]) {
    let mut done = 0;
    while done < bytes.len() {
        let count = system
            .write(file, offset + done as u64, &bytes[done..])
            .expect("write");
        assert!(count > 0, "a write that writes nothing");
        done += count;
    }
}

/// Reads from `offset` until `len` bytes or the end.
pub fn read_at<S: System>(system: &S, file: &S::File, offset: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0xee; len];
    let mut done = 0;
    while done < len {
        let count = system
            .read(file, offset + done as u64, &mut out[done..])
            .expect("read");
        if count == 0 {
            break;
        }
        done += count;
    }
    out.truncate(done);
    out
}

/// The content of a file.
pub fn get<S: System>(system: &S, path: &[u8]) -> Vec<u8> {
    let file = system.open(path).expect("open");
    let size = system.stat_file(&file).expect("stat").size;
    read_at(system, &file, 0, size as usize + 1)
}

/// All entries of a directory.
pub fn list<S: System>(system: &S, path: &[u8]) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut position = 0;
    loop {
        let step = system.read_dir(path, position).expect("read_dir");
        let Some(last) = step.last() else { return all };
        position = last.next;
        all.extend(step);
    }
}

/// All names of a directory, sorted.
pub fn names<S: System>(system: &S, path: &[u8]) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = list(system, path)
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    names.sort();
    names
}

/// Whether a name is there.
pub fn exists<S: System>(system: &S, path: &[u8]) -> bool {
    match system.stat(path) {
        Ok(_) => true,
        Err(Errno::NOENT) => false,
        Err(error) => panic!("stat: {error}"),
    }
}

/// Asserts that an operation fails with one of these errors.
#[track_caller]
pub fn fails<T>(result: Result<T>, errors: &[Errno]) {
    match result {
        Ok(_) => panic!("done, and not refused with {errors:?}"),
        Err(error) => assert!(errors.contains(&error), "{error:?}, and not {errors:?}"),
    }
}

/// Bytes that tell where they belong.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}
