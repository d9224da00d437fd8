// SPDX-License-Identifier: GPL-2.0

//! The report as Markdown.

use super::cells::Table;
use crate::speed::{
    environment,
    sample::{
        Axis,
        Row,
        Sample,
        Unit, //
    },
    statistics::Spread,
    system::System,
    work::{
        filebench::{
            self,
            Personality, //
        },
        tree, //
    },
};
use std::{
    fmt::Write,
    fs,
    path::Path, //
};

/// In which unit a rate is shown. Commands are shown by their time.
pub fn rate_unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Operations => "operations/s",
        Unit::Bytes => "MiB/s",
        Unit::Runs => "ms",
    }
}

/// A rate in that unit.
pub fn value(rate: f64, unit: Unit) -> f64 {
    match unit {
        Unit::Operations => rate,
        Unit::Bytes => rate / f64::from(1 << 20),
        Unit::Runs => 1000.0 / rate,
    }
}

/// With about three digits that count, and commas between thousands.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.095 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, part) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (place, digit) in whole.char_indices() {
        if place > 0 && (whole.len() - place) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out + part
}

fn spread(figures: Spread) -> String {
    let [median, least, most] = [figures.median, figures.least, figures.most].map(number);
    match least == most {
        true => median,
        false => format!("{median} ({least}–{most})"),
    }
}

fn figures(rate: Spread, unit: Unit) -> String {
    let [median, a, b] = [rate.median, rate.least, rate.most].map(|rate| value(rate, unit));
    spread(Spread {
        median,
        least: a.min(b),
        most: a.max(b),
    })
}

/// A table with a line for each row and a column for each system. Nothing of rows that have no cell.
fn table<'a>(
    out: &mut String,
    head: &str,
    systems: &[System],
    rows: impl Iterator<Item = &'a Row>,
    cell: impl Fn(&Row, System) -> Option<String>,
) {
    let names: Vec<_> = systems.iter().map(|system| system.name()).collect();
    let _ = writeln!(out, "| {head} | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "--:|".repeat(systems.len()));
    for row in rows {
        let cells: Vec<_> = systems.iter().map(|&system| cell(row, system)).collect();
        if cells.iter().any(Option::is_some) {
            let cells: Vec<_> = cells.into_iter().map(Option::unwrap_or_default).collect();
            let _ = writeln!(out, "| {row} | {} |", cells.join(" | "));
        }
    }
    out.push('\n');
}

/// Geometric means, and where xv6 is behind.
fn summary(out: &mut String, all: &Table) {
    let others: Vec<System> = all
        .systems
        .iter()
        .copied()
        .filter(|&system| system != System::BASE)
        .collect();
    let base = System::BASE.name();
    let _ = writeln!(
        out,
        "## In short\n\nTimes as fast as {base}: geometric mean of the rows' medians.\n"
    );
    let names: Vec<_> = others.iter().map(|system| system.name()).collect();
    let _ = writeln!(out, "| group | rows | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|--:|{}", "--:|".repeat(others.len()));
    let mut line = |name: &str, rows: Vec<&Row>| {
        let mean = |&system: &System| {
            let mean = all.mean(rows.iter().copied(), system);
            mean.map_or(String::new(), |mean| format!("{mean:.2}"))
        };
        let means: Vec<_> = others.iter().map(mean).collect();
        let _ = writeln!(out, "| {name} | {} | {} |", rows.len(), means.join(" | "));
    };
    for group in all.groups() {
        line(group, all.of_group(group).collect());
    }
    line(
        "**all on a mounted volume**",
        all.mounted()
            .filter(|row| all.rate(row, System::BASE).is_some())
            .collect(),
    );
    for system in [System::Xv6, System::Xv6Prov] {
        let mut behind: Vec<(f64, &Row)> = all
            .mounted()
            .filter_map(|row| Some((all.ratio(row, system)?.median, row)))
            .filter(|(ratio, _)| *ratio < 1.0)
            .collect();
        if behind.is_empty() {
            continue;
        }
        behind.sort_by(|a, b| a.0.total_cmp(&b.0));
        let number = behind.len();
        let _ = writeln!(
            out,
            "\n{} is behind {base} in {number} rows:\n",
            system.name()
        );
        for (ratio, row) in behind {
            let _ = writeln!(out, "- {}: {row}: {ratio:.2}", row.group);
        }
    }
    out.push('\n');
}

/// What goes along with a row besides its time.
fn beside(out: &mut String, all: &Table) {
    type Value = fn(&Sample) -> f64;
    /// For each operation, MiB or run.
    fn each(sample: &Sample, field: u64) -> f64 {
        match sample.row.unit {
            Unit::Bytes => sample.each(field) * f64::from(1 << 20),
            _ => sample.each(field),
        }
    }
    let kinds: [(&str, Value); 4] = [
        ("processor time, µs", |s| each(s, s.cpu_ns) / 1e3),
        ("KiB written to the disk", |s| each(s, s.written) / 1024.0),
        ("KiB read from the disk", |s| each(s, s.read) / 1024.0),
        ("flushes of the disk", |s| each(s, s.flushes)),
    ];
    let _ = writeln!(
        out,
        "## Beside time\n\nFor each operation; for each MiB where rows are in MiB/s; for a whole run where they are in ms. \
         Medians. Processor time is that of all that ran, also of kernel threads and of the server of FUSE, while the row's time ran. \
         What is written and flushed is counted until nothing was dirty any more. Rows where all systems have 0 are left out.\n"
    );
    for (head, value) in kinds {
        let cell = |row: &Row, system| {
            let figure = all.median(row, system, value)?;
            Some(number(figure))
        };
        let some = |row: &&Row| {
            let mut systems = all.systems.iter();
            systems.any(|&system| all.median(row, system, value).is_some_and(|v| v > 0.0))
        };
        table(out, head, &all.systems, all.rows.iter().filter(some), cell);
    }
    let memory = |row: &Row, system| {
        let figure = all.median(row, system, |s| s.each(s.slab))?;
        (figure > 0.0).then(|| number(figure))
    };
    let _ = writeln!(
        out,
        "Slab memory of an inode that a stat has brought into memory, with its name and all that hangs on it, in bytes:\n"
    );
    table(out, "bytes", &all.systems, all.rows.iter(), memory);
}

/// Growth along the axes: from the first to the last place.
fn growth(out: &mut String, all: &Table) {
    let base = System::BASE.name();
    let _ = writeln!(
        out,
        "## Growth\n\nRate at the greatest number over that at the smallest; for commands time over time. **Bold**: worse than {base}'s, \
         by more than a tenth.\n"
    );
    for axis in [Axis::Threads, Axis::Files, Axis::MiB] {
        for series in all.series(axis) {
            let change = |system: System| {
                let at = |at: Option<&u64>| {
                    let row = Row {
                        at: *at?,
                        ..series.row.clone()
                    };
                    Some(all.rate(&row, system)?.median)
                };
                Some(at(series.at.last())? / at(series.at.first())?)
            };
            let bound = change(System::BASE).map_or(0.0, |base| base * 0.9);
            let cells: Vec<String> = all
                .systems
                .iter()
                .filter_map(|&system| {
                    let change = change(system)?;
                    let shown = match series.row.unit {
                        Unit::Runs => number(1.0 / change),
                        _ => number(change),
                    };
                    Some(match change < bound {
                        true => format!("{} **{shown}**", system.name()),
                        false => format!("{} {shown}", system.name()),
                    })
                })
                .collect();
            let (first, last) = (series.at.first(), series.at.last());
            let _ = writeln!(
                out,
                "- {}, {} to {} {axis}: {}",
                series.row.name,
                first.unwrap_or(&0),
                last.unwrap_or(&0),
                cells.join(", ")
            );
        }
    }
    out.push('\n');
}

fn personality(p: &Personality) -> String {
    format!(
        "- {}: {} files of {} KiB on average, {} in a folder, {} % there at the start, appends up to {} KiB, {} threads, each: {}\n",
        p.name,
        p.files,
        p.size >> 10,
        p.width,
        p.existing,
        p.append >> 10,
        p.threads,
        p.steps
            .iter()
            .map(|step| format!("{step:?}").to_lowercase())
            .collect::<Vec<_>>()
            .join(" ")
    )
}

/// How ci/bench begins a line of `host.txt` that a reader has to see first.
const BUSY: &str = "busy: ";

const METHOD: &str = "\
## Method

One disk, formatted for each visit: all systems have the same blocks of it below them. A visit is a new volume and the rows measured
on it. The systems come in turn, in an order that changes from visit to visit and from round to round. The figure is the median of the
rounds, with the least and the greatest; a ratio is taken within each round first.

Rows that change something count until syncfs(2) has returned (and, by FUSE, whose syncfs commits nothing, fsync(2) of the root): who puts
work off does not win by that. Exceptions are rows with fsync, O_DIRECT, and Filebench's, which counts operations while it runs. `cold` means
that the caches of the kernel were dropped, not those of the disk, nor, in a VM, the host's. tmpfs has nothing that could
be cold.

QEMU's TCG, if that is what ran it, is not hardware: it makes instructions slow and all alike, and a disk is the host's file. Ratios of
what the processor does carry over roughly, those of waiting do not. The same commands measure on KVM or on a machine with a disk of
its own: `bento-bench speed run --disk DEVICE` needs no VM, and overwrites the device.

Filebench's personalities are a load generator of ours with the numbers of `workloads/*.f` of Filebench 1.4.9: sizes by a gamma distribution of
shape 1.5, files taken at random, each step counted as an operation. Different: folders have exactly the mean width, and a thread that
finds no file goes on with its next step. A plan may have fewer files (`set`, below).

Reads and writes are what fio does with `ioengine=psync` (`mmap` for those that are mapped), `rw=read, randread, write, randwrite`, `bs` as told,
`direct=1` for those that are direct, `end_fsync=1` for writes that are not, and one job: from a loop of ours, which costs less than fio's for a
piece of 4 KiB in an emulator.
";

/// What is told of how it was measured.
fn method(out: &mut String, dir: &Path) {
    let _ = writeln!(out, "{METHOD}");
    for p in [
        &filebench::VARMAIL,
        &filebench::FILESERVER,
        &filebench::WEBSERVER,
    ] {
        out.push_str(&personality(p));
    }
    let _ = writeln!(out, "\nCommands of the rows `tree`:\n");
    for (name, _, _, command) in tree::COMMANDS {
        let _ = writeln!(out, "- {name}: `{command}`");
    }
    let host = fs::read_to_string(dir.join("host.txt")).unwrap_or_default();
    if !host.is_empty() {
        let _ = writeln!(out, "\n## The host\n\n```\n{}\n```", host.trim());
    }
    for (number, text) in (1..).zip(environment::boots(dir)) {
        let _ = writeln!(out, "\n## Boot {number}\n\n```\n{}\n```", text.trim());
    }
    let _ = writeln!(
        out,
        "\nThe kernel's configuration is in `config`, the samples are in `samples.csv`, medians and ratios in `summary.csv`."
    );
}

/// All of it.
pub fn report(dir: &Path, all: &Table, pictures: &[(String, String)]) -> String {
    let mut out = String::from("# File systems beside each other\n\n");
    let host = fs::read_to_string(dir.join("host.txt")).unwrap_or_default();
    for line in host.lines().filter(|line| line.starts_with(BUSY)) {
        let _ = writeln!(out, "**{line}**\n");
    }
    for failure in all.failures() {
        let _ = writeln!(out, "- not measured: {failure}");
    }
    summary(&mut out, all);
    for (name, title) in pictures {
        let _ = writeln!(out, "![{title}]({name}.svg)\n");
    }
    let base = System::BASE.name();
    let others: Vec<System> = all
        .systems
        .iter()
        .copied()
        .filter(|&system| system != System::BASE)
        .collect();
    let _ = writeln!(out, "## Ratios\n\nTimes as fast as {base}.\n");
    for group in all.groups() {
        table(
            &mut out,
            group,
            &others,
            all.of_group(group),
            |row, system| {
                let ratio = all.ratio(row, system)?;
                Some(spread(ratio))
            },
        );
    }
    let _ = writeln!(
        out,
        "## Figures\n\nMedian, and from the least to the greatest.\n"
    );
    for group in all.groups() {
        for unit in [Unit::Operations, Unit::Bytes, Unit::Runs] {
            let rows: Vec<&Row> = all.of_group(group).filter(|row| row.unit == unit).collect();
            if rows.is_empty() {
                continue;
            }
            let head = format!("{group}, {}", rate_unit(unit));
            table(
                &mut out,
                &head,
                &all.systems,
                rows.into_iter(),
                |row, system| Some(figures(all.rate(row, system)?, unit)),
            );
        }
    }
    growth(&mut out, all);
    beside(&mut out, all);
    method(&mut out, dir);
    out
}
