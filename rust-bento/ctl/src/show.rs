// SPDX-License-Identifier: GPL-2.0

//! Tables and lines for people.

use crate::{
    refusal::{
        self,
        Refusal, //
    },
    sysfs::{
        Implementation,
        Mount,
        Times, //
    },
    upgrade::Done,
    watch::Event,
};
use std::fmt::Write;

/// A time, with a unit that suits it.
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// `3`, or `1-3`
pub fn versions((first, last): (u32, u32)) -> String {
    match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    }
}

/// Columns as wide as their widest cell, two spaces between them.
fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in [head.map(String::from)].iter().chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `bentoctl list`
pub fn list(implementations: &[Implementation]) -> String {
    if implementations.is_empty() {
        return "No implementation is loaded.\n".into();
    }
    let rows: Vec<_> = implementations
        .iter()
        .map(|i| {
            [
                i.name.clone(),
                i.format.clone(),
                i.version.to_string(),
                versions(i.state_reads),
                i.state_writes.to_string(),
                i.users.to_string(),
            ]
        })
        .collect();
    let head = [
        "NAME",
        "FORMAT",
        "VERSION",
        "READS STATE",
        "WRITES STATE",
        "MOUNTS",
    ];
    table(head, &rows)
}

fn points(mount: &Mount) -> String {
    let points: Vec<_> = mount
        .mount_points
        .iter()
        .map(|point| point.display().to_string())
        .collect();
    match points.is_empty() {
        true => "-".into(),
        false => points.join(", "),
    }
}

/// `bentoctl status`
pub fn status(mounts: &[Mount]) -> String {
    if mounts.is_empty() {
        return "No Bento file system is mounted.\n".into();
    }
    let rows: Vec<_> = mounts
        .iter()
        .map(|m| {
            [
                m.id.clone(),
                points(m),
                m.implementation.clone(),
                m.version.to_string(),
                m.state.clone(),
                m.upgrades.to_string(),
                m.refusals.to_string(),
                m.last.map_or("-".into(), |last| duration(last.pause_ns)),
            ]
        })
        .collect();
    let head = [
        "DEVICE",
        "MOUNTED AT",
        "IMPLEMENTATION",
        "VERSION",
        "STATE",
        "UPGRADES",
        "REFUSALS",
        "LAST PAUSE",
    ];
    table(head, &rows)
}

/// `bentoctl status MOUNT`
pub fn mount(mount: &Mount) -> String {
    let mut lines = vec![
        ("device", mount.id.clone()),
        ("mounted at", points(mount)),
        ("implementation", mount.implementation.clone()),
        ("version", mount.version.to_string()),
        ("state", mount.state.clone()),
        ("upgrades", mount.upgrades.to_string()),
        ("refusals", mount.refusals.to_string()),
    ];
    if mount.upgrades + mount.refusals > 0 {
        let result = match mount.last_error {
            0 => "succeeded".into(),
            errno => refusal::name(errno.abs()),
        };
        lines.push(("last attempt", result));
    }
    if let Some(last) = &mount.last {
        lines.extend(times(last));
    }
    pairs(&lines)
}

fn times(times: &Times) -> Vec<(&'static str, String)> {
    vec![
        ("pause", duration(times.pause_ns)),
        ("  drain", duration(times.drain_ns)),
        ("  transfer", duration(times.transfer_ns)),
        ("  switch", duration(times.switch_ns)),
        ("longest wait", duration(times.longest_wait_ns)),
        ("staged in", duration(times.stage_ns)),
        ("retries", times.retries.to_string()),
    ]
}

fn pairs(lines: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (name, value) in lines {
        let _ = writeln!(out, "{name:16}{value}");
    }
    out
}

/// `bentoctl upgrade`
pub fn done(named: &str, done: &Done) -> String {
    let Done {
        from,
        from_version,
        to,
        to_version,
        ..
    } = done;
    match &done.times {
        None if done.dry_run => format!(
            "{named}: {from} (version {from_version}) can be replaced by {to} (version \
             {to_version}); nothing was changed\n"
        ),
        None => format!("{named}: {from} was replaced by {to} (version {to_version})\n"),
        Some(taken) => format!(
            "{named}: {from} (version {from_version}) was replaced by {to} (version \
             {to_version})\n{}",
            pairs(&times(taken))
        ),
    }
}

/// Something that was not done.
pub fn refusal(refusal: &Refusal) -> String {
    let error = match &refusal.error {
        Some(error) => format!(" ({error})"),
        None => String::new(),
    };
    let Refusal {
        what, why, remedy, ..
    } = refusal;
    format!("bentoctl: {what}{error}\n  why: {why}\n  what to do: {remedy}\n")
}

/// `bentoctl watch`
pub fn event(event: &Event) -> String {
    let unknown = || "?".to_owned();
    let from = event.from.clone().unwrap_or_else(unknown);
    let to = event.to.clone().unwrap_or_else(unknown);
    let mount = &event.mount;
    match (event.event.as_str(), event.pause_ns, &event.error) {
        ("upgrade", Some(ns), _) => {
            format!(
                "{mount}: {from} was replaced by {to}, pause {}\n",
                duration(ns)
            )
        }
        ("upgrade", None, _) => format!("{mount}: {from} was replaced by {to}\n"),
        ("refused", _, Some(error)) => {
            format!("{mount}: {from} was not replaced by {to}: {error}\n")
        }
        (other, _, _) => format!("{mount}: {other}, {from} to {to}\n"),
    }
}
