// SPDX-License-Identifier: GPL-2.0

//! What several rounds say together.

/// The middle of some values, and how far apart they lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// `None` of no values. The median of an even number of values lies between the two in the middle.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Some(Self {
            median,
            least,
            most,
        })
    }
}

/// The geometric mean: what ratios have, of which twice as fast and half as fast make even. `None` of no values.
pub fn geometric_mean(ratios: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut number) = (0.0, 0);
    for ratio in ratios {
        sum += ratio.ln();
        number += 1;
    }
    (number > 0).then(|| (sum / f64::from(number)).exp())
}
