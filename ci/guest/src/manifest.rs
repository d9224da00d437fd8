// SPDX-License-Identifier: GPL-2.0

//! One line for each object of a tree: what an archive of it would have to keep.

use anyhow::Context;
use anyhow::Result;
use sha2::Digest;
use sha2::Sha256;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// Writes the manifest of `root` to `out`, sorted by path. Gives the number of files and their bytes.
pub fn write(root: &Path, threads: usize, mut out: impl Write) -> Result<(u64, u64)> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    let next = AtomicUsize::new(0);
    let mut lines: Vec<(usize, String)> = std::thread::scope(|scope| -> Result<_> {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<Vec<(usize, String)>> {
                    let mut lines = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(path) = paths.get(at) else {
                            return Ok(lines);
                        };
                        let line = line(root, path);
                        lines.push((at, line.with_context(|| format!("{}", path.display()))?));
                    }
                })
            })
            .collect();
        let mut lines = Vec::new();
        for worker in workers {
            lines.extend(worker.join().expect("a worker does not panic")?);
        }
        Ok(lines)
    })?;
    lines.sort();
    let (mut files, mut bytes) = (0, 0);
    for (at, line) in lines {
        writeln!(out, "{line}")?;
        let meta = paths[at].symlink_metadata()?;
        if meta.is_file() {
            files += 1;
            bytes += meta.len();
        }
    }
    out.flush()?;
    Ok((files, bytes))
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let entry = entry?;
        let path = entry.path();
        if dir.parent().is_some() && entry.file_name() == "lost+found" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&path, paths)?;
        }
        paths.push(path);
    }
    Ok(())
}

fn line(root: &Path, path: &Path) -> Result<String> {
    let meta = path.symlink_metadata()?;
    let kind = meta.mode() & libc::S_IFMT;
    let content = match kind {
        libc::S_IFREG => sum(path)?,
        libc::S_IFLNK => std::fs::read_link(path)?.display().to_string(),
        _ => "-".into(),
    };
    // The size and the link count of a directory are the file system's own affair.
    let size = if kind == libc::S_IFDIR { 0 } else { meta.len() };
    Ok(format!(
        "{} {:o} {} {} {size} {}.{:09} {content}",
        path.strip_prefix(root)?.display(),
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec(),
    ))
}

fn sum(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 128 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
