// SPDX-License-Identifier: GPL-2.0

//! Instructions beside recorded ones.

use bento_bench::counts::{
    check,
    compare,
    parse,
    record,
    table,
    Counts,
    Verdict, //
};
use proptest::prelude::*;

fn counts(pairs: &[(&str, u64)]) -> Counts {
    pairs
        .iter()
        .map(|(name, n)| (name.to_string(), *n))
        .collect()
}

#[test]
fn five_percent_is_the_bound() {
    for (measured, verdict) in [
        (950, Verdict::Same),
        (949, Verdict::Faster),
        (1000, Verdict::Same),
        (1050, Verdict::Same),
        (1051, Verdict::Slower),
        (1060, Verdict::Slower),
    ] {
        assert_eq!(compare(Some(1000), Some(measured)), verdict, "{measured}");
    }
    assert_eq!(compare(Some(u64::MAX), Some(u64::MAX)), Verdict::Same);
    assert_eq!(compare(None, Some(1)), Verdict::Alone);
    assert_eq!(compare(Some(1), None), Verdict::Alone);
}

#[test]
fn one_that_is_slower_fails_all() {
    let recorded = counts(&[("create", 40_000), ("stat", 3000)]);
    assert!(check(&recorded, &recorded).1);
    let (text, well) = check(&recorded, &counts(&[("create", 42_400), ("stat", 3000)]));
    assert!(!well);
    assert_eq!(
        text,
        "not ok - create: 42400 instructions, recorded 40000, +6.0 %\n\
         ok - stat: 3000 instructions, recorded 3000, +0.0 %\n"
    );
    // One that is gone, and one that nobody recorded
    let (text, well) = check(&recorded, &counts(&[("stat", 3000), ("link", 5)]));
    assert!(!well);
    assert_eq!(text.matches("not ok - ").count(), 2);
}

#[test]
fn what_is_no_record_is_refused() {
    for text in [
        "",
        "# only a comment\n",
        "stat\n",
        "stat 0\n",
        "stat -1\n",
        "stat 12 13\n",
        "stat 12\nstat 13\n",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_table_has_ratios() {
    let systems = [
        (
            "ext4".to_string(),
            counts(&[("stat", 3000), ("create", 100)]),
        ),
        ("xv6".to_string(), counts(&[("stat", 1500)])),
    ];
    assert_eq!(
        table(&systems, "ext4"),
        "| instructions | ext4 | xv6 |\n|---|--:|--:|\n| create | 100 |  |\n| stat | 3000 | 1500 (0.50) |\n"
    );
}

proptest! {
    #[test]
    fn records_are_read_as_they_were_written(
        counts in prop::collection::btree_map("[a-z-]{1,12}", 1..u64::MAX, 1..20),
        about in prop::collection::vec("[^\n\r]{0,40}", 0..4),
    ) {
        prop_assert_eq!(parse(&record(&counts, &about)), Ok(counts));
    }
}
