// SPDX-License-Identifier: GPL-2.0

//! The pictures: ratios by row, and growth along an axis.

use super::{
    cells::{
        Series,
        Table, //
    },
    picture::{
        save,
        Picture,
        FONT, //
    },
};
use crate::speed::{
    sample::{
        Axis,
        Row, //
    },
    system::System, //
};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{
        HPos,
        Pos,
        VPos, //
    },
};
use std::{
    error::Error,
    path::Path, //
};

fn color(system: System) -> RGBColor {
    match system {
        System::Ext4 => RGBColor(110, 110, 110),
        System::Ext4Journal => RGBColor(190, 150, 60),
        System::Xfs => RGBColor(50, 120, 200),
        System::Xv6 => RGBColor(210, 40, 40),
        System::Xv6Prov => RGBColor(150, 60, 160),
        System::Xv6Fuse => RGBColor(50, 150, 80),
        System::Tmpfs => RGBColor(190, 190, 190),
    }
}

fn text(size: i32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&BLACK)
}

fn anchored(size: i32, h: HPos, v: VPos) -> TextStyle<'static> {
    text(size).pos(Pos::new(h, v))
}

/// A line of names with their colours.
fn legend<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    systems: &[System],
    (mut x, y): (i32, i32),
) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    for &system in systems {
        area.draw(&Circle::new((x, y), 5, color(system).filled()))?;
        let style = anchored(13, HPos::Left, VPos::Center);
        let (width, _) = area.estimate_text_size(system.name(), &style)?;
        area.draw(&Text::new(system.name(), (x + 9, y), style))?;
        x += width as i32 + 32;
    }
    Ok(())
}

/// Ratios to the base: a line for each row, a point for each system.
struct Ratios {
    title: String,
    systems: Vec<System>,
    lines: Vec<(String, Vec<(System, f64)>)>,
}

const LINE: i32 = 20;
const LEFT: i32 = 300;
const WIDTH: i32 = 900;
const HEAD: i32 = 70;

impl Ratios {
    /// As powers of two: the least and the greatest that has to be shown.
    fn range(&self) -> (i32, i32) {
        let logs = || {
            let points = self.lines.iter().flat_map(|(_, points)| points);
            points.map(|(_, ratio)| ratio.log2())
        };
        let least = logs().fold(-1.0, f64::min).floor().max(-8.0);
        let most = logs().fold(1.0, f64::max).ceil().min(8.0);
        (least as i32, most as i32)
    }
}

impl Picture for Ratios {
    fn size(&self) -> (u32, u32) {
        (
            WIDTH as u32,
            (HEAD + LINE * self.lines.len() as i32 + 40) as u32,
        )
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), Box<dyn Error>>
    where
        B::ErrorType: 'static,
    {
        let (least, most) = self.range();
        let right = WIDTH - 30;
        let place = |log: f64| {
            let part = (log - f64::from(least)) / f64::from(most - least);
            LEFT + (part.clamp(0.0, 1.0) * f64::from(right - LEFT)) as i32
        };
        let bottom = HEAD + LINE * self.lines.len() as i32;
        area.draw(&Text::new(self.title.as_str(), (12, 10), text(17)))?;
        legend(area, &self.systems, (20, 48))?;
        for power in least..=most {
            let x = place(f64::from(power));
            let style = match power {
                0 => BLACK.stroke_width(1),
                _ => RGBColor(225, 225, 225).stroke_width(1),
            };
            area.draw(&PathElement::new([(x, HEAD), (x, bottom)], style))?;
            let label = match power {
                0.. => format!("{}", 1 << power),
                _ => format!("1/{}", 1 << -power),
            };
            let style = anchored(12, HPos::Center, VPos::Top);
            area.draw(&Text::new(label, (x, bottom + 6), style))?;
        }
        for (number, (name, points)) in self.lines.iter().enumerate() {
            let y = HEAD + LINE * number as i32 + LINE / 2;
            let style = anchored(12, HPos::Right, VPos::Center);
            area.draw(&Text::new(name.as_str(), (LEFT - 10, y), style))?;
            area.draw(&PathElement::new(
                [(LEFT, y), (right, y)],
                RGBColor(240, 240, 240),
            ))?;
            // Ours last, so that no other lies over it
            let mut points = points.clone();
            points.sort_by_key(|(system, _)| *system == System::Xv6);
            for (system, ratio) in points {
                let radius = if system == System::Xv6 { 6 } else { 4 };
                let center = (place(ratio.log2()), y);
                area.draw(&Circle::new(center, radius, color(system).filled()))?;
            }
        }
        Ok(())
    }
}

/// Figures of one row along its axis, for each system.
struct Panel {
    title: String,
    lines: Vec<(System, Vec<(u64, f64)>)>,
}

/// Panels beside and below each other.
struct Growth {
    title: String,
    axis: Axis,
    systems: Vec<System>,
    panels: Vec<Panel>,
}

const COLUMNS: usize = 3;
const PANEL: (u32, u32) = (330, 230);

impl Picture for Growth {
    fn size(&self) -> (u32, u32) {
        let rows = self.panels.len().div_ceil(COLUMNS) as u32;
        (COLUMNS as u32 * PANEL.0, HEAD as u32 + rows * PANEL.1)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), Box<dyn Error>>
    where
        B::ErrorType: 'static,
    {
        area.draw(&Text::new(self.title.as_str(), (12, 10), text(17)))?;
        legend(area, &self.systems, (20, 48))?;
        let (_, below) = area.split_vertically(HEAD);
        let rows = self.panels.len().div_ceil(COLUMNS);
        let areas = below.split_evenly((rows, COLUMNS));
        for (panel, area) in self.panels.iter().zip(&areas) {
            panel.draw(area, self.axis)?;
        }
        Ok(())
    }
}

impl Panel {
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        axis: Axis,
    ) -> Result<(), Box<dyn Error>>
    where
        B::ErrorType: 'static,
    {
        // Places stand at equal distances, each with its number
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let mut places: Vec<u64> = points().map(|p| p.0).collect();
        places.sort_unstable();
        places.dedup();
        let place = |at: u64| places.partition_point(|&other| other < at) as f64;
        let label = |x: &f64| match (x.fract() == 0.0).then(|| places.get(*x as usize)) {
            Some(Some(at)) => short(*at as f64),
            _ => String::new(),
        };
        let top = points().map(|p| p.1).fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 13))
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(64)
            .build_cartesian_2d(
                -0.2..places.len() as f64 - 0.8,
                0.0..(top * 1.1).max(f64::MIN_POSITIVE),
            )?;
        chart
            .configure_mesh()
            .x_desc(axis.to_string())
            .x_labels(places.len() + 1)
            .y_labels(5)
            .disable_x_mesh()
            .light_line_style(WHITE)
            .label_style((FONT, 11))
            .x_label_formatter(&label)
            .y_label_formatter(&|y| short(*y))
            .draw()?;
        for (system, points) in &self.lines {
            let points: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (place(x), y)).collect();
            let width = if *system == System::Xv6 { 3 } else { 2 };
            let line = color(*system).stroke_width(width);
            chart.draw_series(LineSeries::new(points.iter().copied(), line))?;
            let dots = points
                .iter()
                .map(|&at| Circle::new(at, 3, color(*system).filled()));
            chart.draw_series(dots)?;
        }
        Ok(())
    }
}

/// A number with few digits: `12k`, `3M`, `0.5`.
pub fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let digits = match value {
        v if v >= 10.0 || v == v.round() => 0,
        v if v >= 1.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{unit}")
}

/// A group's, or of the groups among each other.
fn ratios(
    table: &Table,
    title: String,
    lines: impl Iterator<Item = (String, Vec<(System, f64)>)>,
) -> Ratios {
    let lines: Vec<_> = lines.collect();
    let shown = |system: &&System| {
        let mut points = lines.iter().flat_map(|(_, points)| points);
        points.any(|(other, _)| other == *system)
    };
    Ratios {
        title,
        systems: table.systems.iter().filter(shown).copied().collect(),
        lines,
    }
}

/// The other systems' values.
fn others(table: &Table, value: impl Fn(System) -> Option<f64>) -> Vec<(System, f64)> {
    let systems = table.systems.iter().copied();
    systems
        .filter(|&system| system != System::BASE)
        .filter_map(|system| Some((system, value(system)?)))
        .collect()
}

fn growth(table: &Table, axis: Axis, series: &[Series<'_>]) -> Growth {
    let panel = |series: &Series<'_>| {
        let unit = super::markdown::rate_unit(series.row.unit);
        let line = |&system: &System| {
            let point = |&at: &u64| {
                let row = Row {
                    at,
                    ..series.row.clone()
                };
                let rate = table.rate(&row, system)?.median;
                Some((at, super::markdown::value(rate, row.unit)))
            };
            (system, series.at.iter().filter_map(point).collect())
        };
        Panel {
            title: format!("{}, {unit}", series.row.name),
            lines: table.systems.iter().map(line).collect(),
        }
    };
    Growth {
        title: format!("Growth with {axis}"),
        axis,
        systems: table.systems.clone(),
        panels: series.iter().map(panel).collect(),
    }
}

/// Draws all, and returns their names and titles.
pub fn draw(out: &Path, table: &Table) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut names = Vec::new();
    let groups = table.groups();
    let base = System::BASE.name();
    let overview = ratios(
        table,
        format!("Times as fast as {base}: geometric mean of each group's rows"),
        groups.iter().map(|group| {
            let mean = |system| table.mean(table.of_group(group), system);
            (group.to_string(), others(table, mean))
        }),
    );
    save(&overview, out, "overview")?;
    names.push(("overview".into(), overview.title.clone()));
    for group in &groups {
        let picture = ratios(
            table,
            format!("{group}: times as fast as {base}"),
            table.of_group(group).map(|row| {
                let ratio = |system| Some(table.ratio(row, system)?.median);
                (row.to_string(), others(table, ratio))
            }),
        );
        let name = format!("ratio-{group}");
        save(&picture, out, &name)?;
        names.push((name, picture.title.clone()));
    }
    for axis in [Axis::Threads, Axis::Files, Axis::MiB] {
        let series = table.series(axis);
        if !series.is_empty() {
            let picture = growth(table, axis, &series);
            let name = format!("growth-{axis}").to_lowercase();
            save(&picture, out, &name)?;
            names.push((name, picture.title.clone()));
        }
    }
    Ok(names)
}
