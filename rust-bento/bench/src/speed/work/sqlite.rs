// SPDX-License-Identifier: GPL-2.0

//! A real application: SQLite with a write-ahead log, by its shell. Each transaction inserts a row and changes another;
//! `synchronous=FULL` has each of them on the disk before the next begins, `NORMAL` only the checkpoints.

use super::super::{
    command::Line,
    random::Random,
    sample::{
        Row,
        Unit, //
    },
    visit::{
        Ends,
        Visit, //
    },
};
use std::{
    fmt::Write,
    fs,
    io,
    path::Path, //
};

/// Rows that are there before.
const ROWS: u64 = 2000;
/// Selections, for each transaction.
const READS: u64 = 10;

fn start(script: &mut String) {
    script.push_str("PRAGMA journal_mode=WAL;\n");
    script.push_str("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, body BLOB);\n");
    script.push_str("CREATE INDEX t_name ON t(name);\nBEGIN;\n");
    for id in 0..ROWS {
        let _ = writeln!(
            script,
            "INSERT INTO t VALUES({id}, 'name-{id}', zeroblob(500));"
        );
    }
    script.push_str("COMMIT;\nPRAGMA wal_checkpoint(TRUNCATE);\n");
}

/// The script of the writing rows.
pub fn transactions(number: u64, synchronous: &str) -> String {
    let mut script = format!("PRAGMA synchronous={synchronous};\n");
    let mut random = Random::new(number);
    for n in 0..number {
        let (new, old) = (ROWS + n, random.below(ROWS));
        let _ = writeln!(
            script,
            "BEGIN; INSERT INTO t VALUES({new}, 'name-{new}', zeroblob(500)); \
             UPDATE t SET name = 'changed-{n}' WHERE id = {old}; COMMIT;"
        );
    }
    script.push_str("PRAGMA wal_checkpoint(TRUNCATE);\n");
    script
}

/// The script of the reading row.
pub fn selections(number: u64) -> String {
    let mut random = Random::new(number);
    let one = |_| {
        format!(
            "SELECT length(body) FROM t WHERE id = {};\n",
            random.below(ROWS)
        )
    };
    (0..number).map(one).collect()
}

/// Has the shell run a script, which lies in memory.
fn sqlite(database: &Path, script: &str) -> io::Result<()> {
    let path = std::env::temp_dir().join("bento-bench.sql");
    fs::write(&path, script)?;
    let (database, path) = (database.display(), path.display());
    Line::shell(&format!("sqlite3 -bail {database} <{path} >/dev/null")).run()
}

pub fn run(visit: &mut Visit<'_>) -> io::Result<()> {
    let dir = visit.folder("sqlite")?;
    let number = visit.plan.transactions;
    let mut create = String::new();
    start(&mut create);
    for synchronous in ["FULL", "NORMAL"] {
        let database = dir.join(synchronous);
        sqlite(&database, &create)?;
        let row = Row::new(
            "sqlite",
            format!("transaction synchronous={synchronous}"),
            Unit::Operations,
        );
        visit.measure(row, Ends::Settled, |_| {
            sqlite(&database, &transactions(number, synchronous)).map(|()| number)
        })?;
    }
    let row = Row::new("sqlite", "selection cold", Unit::Operations);
    visit.measure_cold(row, Ends::Done, |_| {
        sqlite(&dir.join("FULL"), &selections(number * READS)).map(|()| number * READS)
    })?;
    Ok(())
}
