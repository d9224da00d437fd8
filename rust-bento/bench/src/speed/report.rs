// SPDX-License-Identifier: GPL-2.0

//! What a record says: tables, CSV and pictures.

pub mod cells;
pub mod charts;
pub mod csv;
pub mod markdown;
pub mod picture;

use super::{
    run,
    sample::HEAD, //
};
use cells::Table;
use std::{
    error::Error,
    fs,
    path::Path, //
};

/// Writes them all beside the record, and returns the text.
pub fn write(out: &Path) -> Result<String, Box<dyn Error>> {
    let samples = run::read(out)?;
    let mut lines = format!("{HEAD}\n");
    for sample in &samples {
        lines.push_str(&format!("{sample}\n"));
    }
    fs::write(out.join("samples.csv"), lines)?;
    let table = Table::new(samples);
    fs::write(out.join("summary.csv"), csv::summary(&table))?;
    let pictures = charts::draw(out, &table)?;
    let text = markdown::report(out, &table, &pictures);
    fs::write(out.join("report.md"), &text)?;
    Ok(text)
}
