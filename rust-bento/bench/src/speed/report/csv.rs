// SPDX-License-Identifier: GPL-2.0

//! The summary as CSV: a line for each row and system.

use super::cells::Table;

/// With a head. A field without a value is empty.
pub fn summary(table: &Table) -> String {
    let mut out = String::from(
        "group,row,axis,at,unit,system,rounds,median_per_s,least_per_s,most_per_s,ratio,least_ratio,\
         most_ratio,cpu_ns_each,read_bytes_each,written_bytes_each,flushes_each,slab_bytes_each\n",
    );
    for row in &table.rows {
        for &system in &table.systems {
            let Some(rate) = table.rate(row, system) else {
                continue;
            };
            let ratio = table.ratio(row, system);
            let three = ratio.map_or([None; 3], |r| [r.median, r.least, r.most].map(Some));
            let each = |field: fn(&super::super::sample::Sample) -> u64| {
                table.median(row, system, |s| s.each(field(s)))
            };
            let numbers = [
                Some(rate.median),
                Some(rate.least),
                Some(rate.most),
                three[0],
                three[1],
                three[2],
                each(|s| s.cpu_ns),
                each(|s| s.read),
                each(|s| s.written),
                each(|s| s.flushes),
                each(|s| s.slab),
            ];
            let numbers = numbers.map(|n| n.map_or(String::new(), |n| format!("{n:.4}")));
            let rounds = table.samples(row, system).len();
            let (group, name, axis, at, unit) = (&row.group, &row.name, row.axis, row.at, row.unit);
            out.push_str(&format!(
                "{group},{name},{axis},{at},{unit},{},{rounds},{}\n",
                system.name(),
                numbers.join(",")
            ));
        }
    }
    out
}
