// SPDX-License-Identifier: GPL-2.0

//! Samples by row and system.

use super::super::{
    sample::{
        Axis,
        Row,
        Sample, //
    },
    statistics::{
        geometric_mean,
        Spread, //
    },
    system::System,
};
use std::collections::BTreeMap;

/// The group of what is done to a volume that is not mounted, or to mount it: reported, but no operation on a mounted one.
const UNMOUNTED: &str = "volume";

/// All cells.
#[derive(Debug, Default)]
pub struct Table {
    /// In the order in which they were measured first; those of one name stand together.
    pub rows: Vec<Row>,
    /// Those that were measured.
    pub systems: Vec<System>,
    cells: BTreeMap<(Row, System), Vec<Sample>>,
}

/// Rows that differ only in where on their axis they are.
#[derive(Debug)]
pub struct Series<'a> {
    pub row: &'a Row,
    pub at: Vec<u64>,
}

impl Table {
    pub fn new(samples: Vec<Sample>) -> Self {
        let mut table = Self::default();
        for sample in samples {
            if !table.rows.contains(&sample.row) {
                table.rows.push(sample.row.clone());
            }
            if !table.systems.contains(&sample.system) {
                table.systems.push(sample.system);
            }
            let key = (sample.row.clone(), sample.system);
            table.cells.entry(key).or_default().push(sample);
        }
        table.systems.sort_unstable();
        let rows = table.rows.clone();
        let first = |row: &Row| {
            let same = |other: &Row| other.group == row.group && other.name == row.name;
            rows.iter().position(same)
        };
        table.rows.sort_by_key(|row| (first(row), row.axis, row.at));
        table
    }

    /// A cell's samples, one for each round; empty if it was not measured.
    pub fn samples(&self, row: &Row, system: System) -> &[Sample] {
        let key = (row.clone(), system);
        self.cells.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Operations, bytes or runs in a second.
    pub fn rate(&self, row: &Row, system: System) -> Option<Spread> {
        let samples = self.samples(row, system);
        Spread::of(&samples.iter().filter_map(Sample::rate).collect::<Vec<_>>())
    }

    /// How many times as fast as the base, of each round's figures with each other.
    pub fn ratio(&self, row: &Row, system: System) -> Option<Spread> {
        let base = self.samples(row, System::BASE);
        let ratio = |sample: &Sample| {
            let same = base.iter().find(|other| other.round == sample.round)?;
            Some(sample.rate()? / same.rate()?)
        };
        let samples = self.samples(row, system);
        Spread::of(&samples.iter().filter_map(ratio).collect::<Vec<_>>())
    }

    /// The median of some value of the samples that have a rate.
    pub fn median(&self, row: &Row, system: System, value: impl Fn(&Sample) -> f64) -> Option<f64> {
        let samples = self.samples(row, system).iter();
        let values: Vec<f64> = samples.filter(|s| s.rate().is_some()).map(value).collect();
        Some(Spread::of(&values)?.median)
    }

    /// Groups of rows, in order.
    pub fn groups(&self) -> Vec<&str> {
        let mut groups = Vec::new();
        for row in &self.rows {
            if !groups.contains(&row.group.as_str()) && self.measured(row) {
                groups.push(row.group.as_str());
            }
        }
        groups
    }

    /// Rows of a group that some system has a figure for.
    pub fn of_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows
            .iter()
            .filter(move |row| row.group == group && self.measured(row))
    }

    fn measured(&self, row: &Row) -> bool {
        let mut systems = self.systems.iter();
        systems.any(|&system| self.rate(row, system).is_some())
    }

    /// Operations on a mounted volume.
    pub fn mounted(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.group != UNMOUNTED)
    }

    /// Geometric mean of the ratios of some rows.
    pub fn mean<'a>(&self, rows: impl IntoIterator<Item = &'a Row>, system: System) -> Option<f64> {
        let ratios = rows.into_iter().filter_map(|row| self.ratio(row, system));
        geometric_mean(ratios.map(|ratio| ratio.median))
    }

    /// What grows along an axis, and is measured at more than one place of it.
    pub fn series(&self, axis: Axis) -> Vec<Series<'_>> {
        let mut all: Vec<Series<'_>> = Vec::new();
        for row in self.rows.iter().filter(|row| row.axis == axis) {
            let same = |s: &&mut Series<'_>| s.row.group == row.group && s.row.name == row.name;
            match all.iter_mut().find(same) {
                Some(series) => series.at.push(row.at),
                None => all.push(Series {
                    row,
                    at: vec![row.at],
                }),
            }
        }
        all.retain_mut(|series| {
            series.at.sort_unstable();
            axis != Axis::None && series.at.len() > 1
        });
        all
    }

    /// What went wrong, or could not be measured.
    pub fn failures(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for ((row, system), samples) in &self.cells {
            for sample in samples.iter().filter(|s| !s.failure.is_empty()) {
                let text = format!("{}: {row}: {}", system.name(), sample.failure);
                if !all.contains(&text) {
                    all.push(text);
                }
            }
        }
        all
    }
}
