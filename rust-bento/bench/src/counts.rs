// SPDX-License-Identifier: GPL-2.0

//! Instructions of operations, as QEMU counts them, beside those that were recorded.
//!
//! A file of counts has a line `NAME COUNT` for each operation, and comments that begin with `#`.

use std::{
    collections::BTreeMap,
    fmt::Write, //
};

/// By how many percent a count may differ from the recorded one.
pub const TOLERANCE: u64 = 5;

/// Operations and their instructions.
pub type Counts = BTreeMap<String, u64>;

/// Reads a file of counts. The error tells the line.
pub fn parse(text: &str) -> Result<Counts, String> {
    let mut counts = Counts::new();
    for line in text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
    {
        let pair = line.split_once(' ').and_then(|(name, count)| {
            let count: u64 = count.trim().parse().ok()?;
            (count > 0).then(|| (name.to_string(), count))
        });
        let (name, count) =
            pair.ok_or_else(|| format!("`{line}` is no operation and its count"))?;
        if counts.insert(name, count).is_some() {
            return Err(format!("`{line}`: the operation is there twice"));
        }
    }
    match counts.is_empty() {
        true => Err("there are no counts".into()),
        false => Ok(counts),
    }
}

/// How a count compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    Slower,
    /// Faster than recorded: what is lost again would not be seen, so this is to be recorded too.
    Faster,
    /// In one of the two only.
    Alone,
}

/// One with the other.
pub fn compare(recorded: Option<u64>, measured: Option<u64>) -> Verdict {
    let (Some(recorded), Some(measured)) = (recorded, measured) else {
        return Verdict::Alone;
    };
    let bound = |count: u64, percent: u64| u128::from(count) * u128::from(percent);
    if bound(measured, 100) > bound(recorded, 100 + TOLERANCE) {
        Verdict::Slower
    } else if bound(measured, 100) < bound(recorded, 100 - TOLERANCE) {
        Verdict::Faster
    } else {
        Verdict::Same
    }
}

/// A line `ok - ...` or `not ok - ...` for each operation, and whether all are well.
pub fn check(recorded: &Counts, measured: &Counts) -> (String, bool) {
    let (mut out, mut well) = (String::new(), true);
    let mut names: Vec<&String> = recorded.keys().chain(measured.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (old, new) = (recorded.get(name).copied(), measured.get(name).copied());
        let verdict = compare(old, new);
        let word = match verdict {
            Verdict::Same => "ok",
            _ => "not ok",
        };
        well &= verdict == Verdict::Same;
        let change = match (old, new) {
            (Some(old), Some(new)) => {
                let percent = (new as f64 / old as f64 - 1.0) * 100.0;
                format!("{new} instructions, recorded {old}, {percent:+.1} %")
            }
            (Some(old), None) => format!("recorded {old} instructions, not measured"),
            (None, _) => format!("{} instructions, not recorded", new.unwrap_or(0)),
        };
        let _ = writeln!(out, "{word} - {name}: {change}");
    }
    (out, well)
}

/// A file of counts, with what they depend on and why they were recorded.
pub fn record(measured: &Counts, about: &[String]) -> String {
    let mut out = String::from("# SPDX-License-Identifier: GPL-2.0\n");
    for line in about {
        let _ = writeln!(out, "# {line}");
    }
    for (name, count) in measured {
        let _ = writeln!(out, "{name} {count}");
    }
    out
}

/// A Markdown table of several systems, with each one's ratio to the base.
pub fn table(systems: &[(String, Counts)], base: &str) -> String {
    let names: Vec<&str> = systems.iter().map(|(name, _)| name.as_str()).collect();
    let mut out = format!("| instructions | {} |\n", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "--:|".repeat(systems.len()));
    let mut operations: Vec<&String> = systems.iter().flat_map(|(_, c)| c.keys()).collect();
    operations.sort_unstable();
    operations.dedup();
    let of_base = systems.iter().find(|(name, _)| name == base);
    for operation in operations {
        let cell = |(name, counts): &(String, Counts)| {
            let Some(count) = counts.get(operation) else {
                return String::new();
            };
            match of_base.and_then(|(_, counts)| counts.get(operation)) {
                Some(of_base) if name != base => {
                    format!("{count} ({:.2})", *count as f64 / *of_base as f64)
                }
                _ => count.to_string(),
            }
        };
        let cells: Vec<String> = systems.iter().map(cell).collect();
        let _ = writeln!(out, "| {operation} | {} |", cells.join(" | "));
    }
    out
}
