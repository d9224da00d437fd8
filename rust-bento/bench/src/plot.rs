// SPDX-License-Identifier: GPL-2.0

//! Pictures: throughput around the swap, and the pause over the number of cached inodes.

use crate::{
    record::Measurement,
    report::Results,
    speed::report::picture, //
};
use plotters::prelude::*;
use std::{
    error::Error,
    path::Path, //
};

/// Width of a bar of time, in milliseconds, and how much is shown before and after the swap.
const BIN_MS: i64 = 5;
const BEFORE_MS: i64 = 50;
const AFTER_MS: i64 = 150;

/// Operations that end in a second, by milliseconds from the moment of the upgrade, over all windows
/// with one or without.
pub fn throughput(measurement: &Measurement, upgrade: bool) -> Vec<(i64, f64)> {
    let windows: Vec<_> = measurement
        .windows
        .iter()
        .filter(|window| window.upgrade == upgrade)
        .collect();
    let bins = ((BEFORE_MS + AFTER_MS) / BIN_MS) as usize;
    let mut counts = vec![0u64; bins];
    for window in &windows {
        for operation in &measurement.operations {
            let ms = (operation.end() as i64 - window.at as i64).div_euclid(1_000_000);
            let bin = (ms + BEFORE_MS).div_euclid(BIN_MS);
            if let Some(count) = usize::try_from(bin)
                .ok()
                .and_then(|bin| counts.get_mut(bin))
            {
                *count += 1;
            }
        }
    }
    let seconds = (windows.len().max(1) as i64 * BIN_MS) as f64 / 1000.0;
    (0..)
        .zip(counts)
        .map(|(bin, count)| (bin * BIN_MS - BEFORE_MS, count as f64 / seconds))
        .collect()
}

/// Draws lines with names into an SVG.
fn lines(
    path: &Path,
    title: &str,
    (across, up): (&str, &str),
    series: &[(&str, Vec<(f64, f64)>)],
) -> Result<(), Box<dyn Error>> {
    picture::register_fonts();
    let points = || series.iter().flat_map(|(_, points)| points);
    let left = points().map(|p| p.0).fold(f64::INFINITY, f64::min);
    let right = points().map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
    let top = points().map(|p| p.1).fold(0.0, f64::max);
    let area = SVGBackend::new(path, (800, 400)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(left..right.max(left + 1.0), 0.0..(top * 1.1).max(1.0))?;
    chart.configure_mesh().x_desc(across).y_desc(up).draw()?;
    for (number, (name, points)) in series.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                color.stroke_width(2),
            ))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

/// Throughput around the swap.
pub fn draw_throughput(
    path: &Path,
    title: &str,
    measurement: &Measurement,
) -> Result<(), Box<dyn Error>> {
    let points = |upgrade| {
        throughput(measurement, upgrade)
            .into_iter()
            .map(|(ms, rate)| (ms as f64, rate))
            .collect()
    };
    lines(
        path,
        title,
        ("ms from the upgrade", "operations / s"),
        &[("upgrade", points(true)), ("none", points(false))],
    )
}

/// The pause of a load over the number of cached inodes.
pub fn draw_pause(path: &Path, load: &str, results: &Results) -> Result<(), Box<dyn Error>> {
    let points = |which: usize| {
        results
            .iter()
            .filter(|((name, _), _)| name == load)
            .map(|((_, cached), figures)| {
                let inodes = (*cached).max(1) as f64;
                (inodes.log10(), figures.step("pause")[which] as f64 / 1e6)
            })
            .collect()
    };
    lines(
        path,
        &format!("pause, {load}"),
        ("cached inodes (power of ten)", "ms"),
        &[
            ("median", points(0)),
            ("p99", points(1)),
            ("maximum", points(2)),
        ],
    )
}
