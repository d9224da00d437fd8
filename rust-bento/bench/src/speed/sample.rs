// SPDX-License-Identifier: GPL-2.0

//! The record: a row's measurement on one system in one round, as a line of CSV.

use super::system::System;
use std::{
    fmt,
    str::FromStr, //
};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    Operations,
    Bytes,
    /// A command from its start to its end: told as its time.
    Runs,
}

/// What a row is measured over, where it grows with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Axis {
    None,
    Threads,
    Files,
    /// Size of the volume.
    MiB,
}

macro_rules! words {
    ($type:ty: $($value:path = $word:literal),*) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($value => $word),* })
            }
        }

        impl FromStr for $type {
            type Err = ();
            fn from_str(word: &str) -> Result<Self, ()> {
                match word { $($word => Ok($value),)* _ => Err(()) }
            }
        }
    };
}
words!(Unit: Unit::Operations = "operations", Unit::Bytes = "bytes", Unit::Runs = "runs");
words!(Axis: Axis::None = "", Axis::Threads = "threads", Axis::Files = "files", Axis::MiB = "MiB");

/// A row of the table. Its name has no comma: that is CSV's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub group: String,
    pub name: String,
    pub unit: Unit,
    pub axis: Axis,
    /// Where on the axis.
    pub at: u64,
}

impl Row {
    pub fn new(group: &str, name: impl Into<String>, unit: Unit) -> Self {
        Self {
            group: group.into(),
            name: name.into(),
            unit,
            axis: Axis::None,
            at: 0,
        }
    }

    pub fn at(self, axis: Axis, at: u64) -> Self {
        Self { axis, at, ..self }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.axis, self.at) {
            (Axis::None, _) => f.write_str(&self.name),
            (Axis::Threads, 1) => write!(f, "{}, 1 thread", self.name),
            (axis, at) => write!(f, "{}, {at} {axis}", self.name),
        }
    }
}

/// What was measured. Times are in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub round: u64,
    /// Which of the record's boots: more than one if the run was interrupted.
    pub boot: u64,
    pub system: System,
    pub row: Row,
    /// Operations, bytes or runs.
    pub count: u64,
    pub ns: u64,
    /// Until all of it was on the disk, where that is part of the row: else 0.
    pub settle_ns: u64,
    /// Of all processors together.
    pub cpu_ns: u64,
    pub read: u64,
    pub written: u64,
    pub flushes: u64,
    /// By which the slab memory has grown, in bytes, where that is asked.
    pub slab: u64,
    /// Why there is no figure; empty if there is one.
    pub failure: String,
}

/// The head of the CSV.
pub const HEAD: &str =
    "round,boot,system,group,row,unit,axis,at,count,ns,settle_ns,cpu_ns,read_bytes,written_bytes,\
                        flushes,slab_bytes,failure";

impl Sample {
    /// Seconds that count: until the work is done, and on the disk where that is part of it.
    pub fn seconds(&self) -> f64 {
        (self.ns + self.settle_ns) as f64 / 1e9
    }

    /// Operations, bytes or runs in a second. None of a failure.
    pub fn rate(&self) -> Option<f64> {
        let usable = self.failure.is_empty() && self.count > 0 && self.ns > 0;
        usable.then(|| self.count as f64 / self.seconds())
    }

    /// A field of the record for each operation.
    pub fn each(&self, field: u64) -> f64 {
        field as f64 / self.count.max(1) as f64
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = &self.row;
        write!(f, "{},{},{},", self.round, self.boot, self.system.name())?;
        write!(f, "{},{},{},", row.group, row.name, row.unit)?;
        write!(f, "{},{},", row.axis, row.at)?;
        for number in [
            self.count,
            self.ns,
            self.settle_ns,
            self.cpu_ns,
            self.read,
            self.written,
            self.flushes,
            self.slab,
        ] {
            write!(f, "{number},")?;
        }
        f.write_str(&self.failure.replace([',', '\n', '\r'], ";"))
    }
}

impl FromStr for Sample {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        fn field<T: FromStr>(text: &str) -> Result<T, String> {
            text.parse().map_err(|_| format!("`{text}`"))
        }
        let wrong = |what: String| format!("no line of the record: {line}: {what}");
        let fields: Vec<&str> = line.split(',').collect();
        let [round, boot, system, group, row, unit, axis, at, numbers @ .., failure] =
            fields.as_slice()
        else {
            return Err(wrong("too few fields".into()));
        };
        let numbers: Result<Vec<u64>, String> = numbers.iter().map(|text| field(text)).collect();
        let numbers: [u64; 8] = numbers
            .map_err(wrong)?
            .try_into()
            .map_err(|_| wrong("not as many fields as there should be".into()))?;
        let [count, ns, settle_ns, cpu_ns, read, written, flushes, slab] = numbers;
        let parse = || -> Result<Self, String> {
            Ok(Self {
                round: field(round)?,
                boot: field(boot)?,
                system: System::by_name(system).ok_or_else(|| format!("`{system}`"))?,
                row: Row {
                    group: group.to_string(),
                    name: row.to_string(),
                    unit: field(unit)?,
                    axis: field(axis)?,
                    at: field(at)?,
                },
                count,
                ns,
                settle_ns,
                cpu_ns,
                read,
                written,
                flushes,
                slab,
                failure: failure.to_string(),
            })
        };
        parse().map_err(wrong)
    }
}
