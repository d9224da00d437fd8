// SPDX-License-Identifier: GPL-2.0

//! Use of a volume that may be damaged: everything comes to an end, with a result or an error.

use kernel::{
    bento::{
        FileSystem,
        Kind, //
    },
    error::{
        code::EBADMSG,
        Result, //
    },
    user::{
        Mount,
        NewNode,
        RenameMode,
        SetAttr, //
    },
};

/// Reads all that can be reached: names, attributes, targets, the data of small files and the ends
/// of large ones. Gives the errors that it met, with what it was doing.
pub fn walk<F: FileSystem>(mount: &Mount<F>) -> Vec<String> {
    let mut errors = Vec::new();
    let mut dirs = vec![(mount.root(), 0)];
    let mut seen = 0;
    while let Some((dir, depth)) = dirs.pop() {
        let entries = match mount.list(dir) {
            Ok(entries) => entries,
            Err(error) => {
                errors.push(format!("list {dir}: {error:?}"));
                continue;
            }
        };
        for entry in entries {
            seen += 1;
            // Directories that contain themselves end somewhere, too.
            if seen > 20_000 {
                errors.push("too many names".into());
                return errors;
            }
            if let Err(error) = look_at(mount, dir, &entry.name) {
                let name = entry.name.escape_ascii();
                errors.push(format!("{dir}/{name}: {error:?}"));
            }
            if entry.kind == Kind::Directory && depth < 30 {
                dirs.push((entry.ino, depth + 1));
            }
        }
    }
    errors
}

fn look_at<F: FileSystem>(mount: &Mount<F>, dir: u64, name: &[u8]) -> Result {
    let inode = mount.lookup(dir, name)?;
    let stat = mount.stat(inode.ino())?;
    let mut buffer = vec![0; 1 << 16];
    match inode.kind() {
        Kind::Regular => {
            let size = stat.attributes.size;
            let mut offset = 0;
            while offset < size.min(1 << 20) {
                offset += mount.read(inode.ino(), offset, &mut buffer)?.max(1) as u64;
            }
            mount.read(inode.ino(), size.saturating_sub(5000), &mut buffer)?;
        }
        Kind::Symlink => {
            mount.read_link(inode.ino())?;
        }
        _ => {}
    }
    Ok(())
}

/// Changes this and that: what is in the root, in directories `many`, `links`, `dir0` and `dir1`, and
/// in some files. Errors are what damage may cause.
pub fn change<F: FileSystem>(mount: &Mount<F>) {
    let root = mount.root();
    let file = NewNode::new(Kind::Regular, 0o600);
    if let Ok(inode) = mount.create(root, b"new", &file) {
        let _ = mount.write(inode.ino(), 0, &[1; 100_000]);
        let _ = mount.fsync(inode.ino());
    }
    let _ = mount.mkdir(root, b"newdir", 0o755).map(|inode| inode.ino());
    for dir in [&b"many"[..], b"links", b"dir0", b"dir1"] {
        let Ok(dir) = mount.lookup(root, dir) else {
            continue;
        };
        for entry in mount.list(dir.ino()).unwrap_or_default().iter().take(40) {
            let _ = match entry.ino % 3 {
                0 => mount.unlink(dir.ino(), &entry.name),
                1 => mount.rename(
                    dir.ino(),
                    &entry.name,
                    root,
                    &entry.name,
                    RenameMode::Replace,
                ),
                _ => mount.rmdir(dir.ino(), &entry.name),
            };
        }
    }
    for name in [&b"fragmented"[..], b"holes", b"preallocated"] {
        if let Ok(inode) = mount.lookup(root, name) {
            let _ = mount.write(inode.ino(), 1 << 22, &[1; 50_000]);
            let _ = mount.punch_hole(inode.ino(), 1 << 20, 1 << 20);
        }
        let _ = mount.unlink(root, name);
    }
    let _ = mount.sync();
}

/// Uses all that can be reached of a volume on which nothing is wrong: every file is written over,
/// cut and made longer, every directory takes a name; and then all goes. Gives what went wrong.
pub fn use_up<F: FileSystem>(mount: &Mount<F>) -> Vec<String> {
    let mut errors = Vec::new();
    use_directory(mount, mount.root(), &mut errors);
    if let Err(error) = mount.sync() {
        errors.push(format!("sync: {error:?}"));
    }
    errors
}

fn use_directory<F: FileSystem>(mount: &Mount<F>, dir: u64, errors: &mut Vec<String>) {
    let entries = match mount.list(dir) {
        Ok(entries) => entries,
        Err(error) => return errors.push(format!("list {dir}: {error:?}")),
    };
    let file = NewNode::new(Kind::Regular, 0o600);
    let mut told = |what: &str, name: &[u8], result: Result| {
        if let Err(error) = result {
            let name = name.escape_ascii();
            errors.push(format!("{what} {dir}/{name}: {error:?}"));
        }
    };
    let fresh = b"a name that nothing has";
    told("create", fresh, mount.create(dir, fresh, &file).map(drop));
    let mut below = Vec::new();
    for entry in &entries {
        match entry.kind {
            Kind::Directory => below.push(entry.ino),
            Kind::Regular => told("use", &entry.name, use_file(mount, entry.ino)),
            _ => {}
        }
        let moved = mount.rename(dir, &entry.name, dir, b"moved", RenameMode::NoReplace);
        let back = moved
            .and_then(|()| mount.rename(dir, b"moved", dir, &entry.name, RenameMode::NoReplace));
        told("rename", &entry.name, back);
    }
    for dir in below {
        use_directory(mount, dir, errors);
    }
    for entry in mount.list(dir).unwrap_or_default() {
        let gone = match entry.kind {
            Kind::Directory => mount.rmdir(dir, &entry.name),
            _ => mount.unlink(dir, &entry.name),
        };
        if let Err(error) = gone {
            let name = entry.name.escape_ascii();
            errors.push(format!("remove {dir}/{name}: {error:?}"));
        }
    }
}

/// Writes over the ends of a file, and changes its size. What was cut does not come back.
fn use_file<F: FileSystem>(mount: &Mount<F>, ino: u64) -> Result {
    const MOST: u64 = 1 << 16;
    let set_size = |size| {
        let change = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        mount.set_attr(ino, &change).map(drop)
    };
    let size = mount.stat(ino)?.attributes.size;
    let most = mount.info().max_file_size;
    shows_zeroes(mount, ino, size, (size + MOST).min(most), set_size)?;
    for offset in [0, size.saturating_sub(MOST)] {
        let len = (size - offset).min(MOST);
        mount.write(ino, offset, &vec![0x5a; len as usize])?;
    }
    set_size(size / 2)?;
    shows_zeroes(mount, ino, size / 2, size, set_size)
}

/// Makes a file of `size` bytes longer: there are zeroes behind them.
fn shows_zeroes<F: FileSystem>(
    mount: &Mount<F>,
    ino: u64,
    size: u64,
    longer: u64,
    set_size: impl Fn(u64) -> Result,
) -> Result {
    set_size(longer)?;
    let len = longer.saturating_sub(size).min(1 << 20) as usize;
    let mut buffer = vec![1; len];
    mount.read(ino, size, &mut buffer)?;
    match buffer.iter().all(|&byte| byte == 0) {
        true => Ok(()),
        false => Err(EBADMSG),
    }
}
