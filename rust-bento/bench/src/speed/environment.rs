// SPDX-License-Identifier: GPL-2.0

//! What was measured on and with: a text for each boot, for the report.

use super::{
    run::Options,
    system::{
        Size,
        System, //
    },
};
use std::{
    fmt::Write,
    fs,
    io,
    path::{
        Path,
        PathBuf, //
    },
    process::Command,
    thread, //
};

/// The text of a boot.
pub fn boot_file(out: &Path, boot: u64) -> PathBuf {
    out.join(format!("boot-{boot}.txt"))
}

/// The texts of all boots.
pub fn boots(out: &Path) -> Vec<String> {
    (1..)
        .map_while(|boot| fs::read_to_string(boot_file(out, boot)).ok())
        .collect()
}

fn line_of(path: &str, start: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(start));
    line.unwrap_or_default().trim().to_string()
}

/// The first line that a program says, wherever it says it.
fn said(program: &str, argument: &str) -> String {
    let Ok(done) = Command::new(program).arg(argument).output() else {
        return format!("{program}: not there");
    };
    let text = [done.stdout, done.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().trim().to_string()
}

/// Writes it, and the kernel's configuration. Returns the number of this boot, from 1.
pub fn write(
    options: &Options,
    systems: &[System],
    missing: &[(System, Option<String>)],
) -> io::Result<u64> {
    let boot = boots(&options.out).len() as u64 + 1;
    let text = text(options, systems, missing).map_err(io::Error::other)?;
    fs::write(boot_file(&options.out, boot), text)?;
    // Not on every machine, and no reason to stop
    if let Ok(config) = Command::new("zcat").arg("/proc/config.gz").output() {
        fs::write(options.out.join("config"), config.stdout)?;
    }
    Ok(boot)
}

fn text(
    options: &Options,
    systems: &[System],
    missing: &[(System, Option<String>)],
) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let disk = options.disk.as_path();
    let name = disk.file_name().unwrap_or_default().to_string_lossy();
    let about = |what: &str| line_of(&format!("/sys/class/block/{name}/{what}"), "");
    writeln!(out, "{}", line_of("/proc/version", ""))?;
    writeln!(out, "command line: {}", line_of("/proc/cmdline", ""))?;
    let processors = thread::available_parallelism().map_or(0, |n| n.get());
    let model = line_of("/proc/cpuinfo", "model name");
    let model = model.split_once(": ").map_or("", |(_, name)| name);
    writeln!(out, "processors: {processors}, {model}")?;
    writeln!(out, "{}", line_of("/proc/meminfo", "MemTotal"))?;
    let sectors: u64 = about("size").parse().unwrap_or(0);
    writeln!(
        out,
        "disk: {}, {} MiB, cache {}, scheduler {}, readahead {} KiB",
        disk.display(),
        sectors >> 11,
        about("queue/write_cache"),
        about("queue/scheduler"),
        about("queue/read_ahead_kb")
    )?;
    for (program, argument) in [
        ("mkfs.ext4", "-V"),
        ("mkfs.xfs", "-V"),
        ("mkfs.xv6", "-V"),
        ("sqlite3", "--version"),
        ("git", "--version"),
        ("tar", "--version"),
        ("grep", "--version"),
    ] {
        writeln!(out, "{program}: {}", said(program, argument))?;
    }
    writeln!(out, "{:?}", options.plan)?;
    for &system in systems {
        writeln!(out, "{}: {}", system.name(), system.about())?;
        let lines = [
            system.mkfs(disk, Size::default()),
            Some(system.mount(disk, &options.dir)),
            system.fsck(disk),
        ];
        for line in lines.iter().flatten() {
            writeln!(out, "    {line}")?;
        }
    }
    for (system, why) in missing {
        let why = why.as_deref().unwrap_or_default();
        writeln!(out, "{}: left out: {why}", system.name())?;
    }
    Ok(out)
}
