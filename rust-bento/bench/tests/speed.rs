// SPDX-License-Identifier: GPL-2.0

//! The comparison of file systems: figures from samples that are known, what is read from the kernel and from files, and
//! the loads on whatever file system the temporary folder is on.

use bento_bench::speed::{
    counters::{
        idle,
        memory,
        Traffic, //
    },
    load::{
        on_threads,
        Until, //
    },
    plan::Plan,
    random::Random,
    report::{
        self,
        cells::Table,
        charts::short,
        markdown::number, //
    },
    run::{
        order,
        read, //
    },
    sample::{
        Axis,
        Row,
        Sample,
        Unit,
        HEAD, //
    },
    statistics::{
        geometric_mean,
        Spread, //
    },
    system::{
        Size,
        System, //
    },
    visit::Visit,
    work::{
        fileset::{
            Fileset,
            Which, //
        },
        sqlite,
        Group, //
    }, //
};
use proptest::prelude::*;
use std::{
    collections::BTreeSet,
    fs, io,
    path::Path,
    time::{
        Duration,
        Instant, //
    },
};

fn sample(round: u64, system: System, row: Row, count: u64, ns: u64) -> Sample {
    Sample {
        round,
        boot: 1,
        system,
        row,
        count,
        ns,
        settle_ns: 0,
        cpu_ns: 2 * ns,
        read: 0,
        written: 4096 * count,
        flushes: round,
        slab: 0,
        failure: String::new(),
    }
}

fn create() -> Row {
    Row::new("metadata", "create", Unit::Operations).at(Axis::Threads, 1)
}

#[test]
fn the_median_of_even_numbers_lies_between() {
    let spread = Spread::of(&[4.0, 1.0, 3.0, 10.0]).expect("values");
    assert_eq!((spread.median, spread.least, spread.most), (3.5, 1.0, 10.0));
    assert_eq!(Spread::of(&[7.0]).expect("a value").median, 7.0);
    assert_eq!(Spread::of(&[]), None);
}

#[test]
fn twice_and_half_as_fast_make_even() {
    let mean = geometric_mean([2.0, 0.5, 4.0, 0.25]).expect("values");
    assert!((mean - 1.0).abs() < 1e-12);
    assert_eq!(geometric_mean([]), None);
}

#[test]
fn the_kernels_counters_are_read() {
    let stat = "     100        3     4096       7      50       0     2048       9        0       11       12       \
                0        0        0        0       77       88\n";
    let traffic = Traffic {
        read: 4096 * 512,
        written: 2048 * 512,
        flushes: 77,
    };
    assert_eq!(Traffic::parse(stat), Some(traffic));
    // A kernel that does not count flushes
    assert_eq!(Traffic::parse("1 2 3 4 5 6 7 8 9 10 11"), None);
    assert_eq!(Traffic::parse("1 2 three"), None);

    let stat = "cpu  1 2 3 400 5 6 7 8 9 10\ncpu0 1 2 3 4 5\ncpu1 1 2 3 4 5\nintr 5\n";
    assert_eq!(idle(stat), Some((4_050_000_000, 2)));
    assert_eq!(idle("intr 5\n"), None);

    let info = "MemTotal:  100 kB\nSReclaimable:  3 kB\nSlab:   7 kB\n";
    assert_eq!(memory(info, "Slab"), Some(7 << 10));
    assert_eq!(memory(info, "Sla"), None);
}

#[test]
fn time_that_settles_counts() {
    let mut sample = sample(0, System::Xv6, create(), 100, 500_000_000);
    assert_eq!(sample.rate(), Some(200.0));
    sample.settle_ns = 500_000_000;
    assert_eq!(sample.rate(), Some(100.0));
    sample.failure = "no space".into();
    assert_eq!(sample.rate(), None);
}

#[test]
fn lines_that_are_no_samples_are_refused() {
    let good = sample(0, System::Xv6, create(), 1, 1).to_string();
    assert!(good.parse::<Sample>().is_ok());
    for bad in [
        String::new(),
        HEAD.into(),
        good.replace("xv6", "xv7"),
        good.replace("threads", "shreds"),
        good.replace("operations", "op"),
        format!("{good},"),
        good.replacen(',', "", 1),
    ] {
        assert!(bad.parse::<Sample>().is_err(), "{bad}");
    }
}

#[test]
fn ratios_are_of_the_same_round() {
    // The host was slow in the second round, for both
    let samples = vec![
        sample(0, System::Ext4, create(), 100, 1_000_000_000),
        sample(0, System::Xv6, create(), 200, 1_000_000_000),
        sample(1, System::Ext4, create(), 10, 1_000_000_000),
        sample(1, System::Xv6, create(), 20, 1_000_000_000),
        // The third has no counterpart
        sample(2, System::Xv6, create(), 1, 1_000_000_000),
    ];
    let table = Table::new(samples);
    let ratio = table.ratio(&create(), System::Xv6).expect("a ratio");
    assert_eq!((ratio.median, ratio.least, ratio.most), (2.0, 2.0, 2.0));
    assert_eq!(
        table.rate(&create(), System::Xv6).expect("a rate").median,
        20.0
    );
    assert_eq!(table.ratio(&create(), System::Xfs), None);
    assert_eq!(table.mean(&table.rows, System::Xv6), Some(2.0));
}

#[test]
fn what_is_not_mounted_counts_beside() {
    let mkfs = Row::new("volume", "mkfs", Unit::Runs);
    let table = Table::new(vec![
        sample(0, System::Ext4, create(), 1, 1),
        sample(0, System::Ext4, mkfs, 1, 1),
    ]);
    assert_eq!(table.mounted().collect::<Vec<_>>(), [&create()]);
    assert_eq!(table.groups(), ["metadata", "volume"]);
}

#[test]
fn series_are_rows_along_an_axis() {
    let at = |threads| create().at(Axis::Threads, threads);
    let alone = Row::new("fsync", "append", Unit::Operations).at(Axis::Threads, 1);
    let rows = [at(8), at(1), alone, Row::new("data", "read", Unit::Bytes)];
    let table = Table::new(rows.map(|row| sample(0, System::Ext4, row, 1, 1)).into());
    let series = table.series(Axis::Threads);
    assert_eq!(series.len(), 1);
    assert_eq!(series[0].at, [1, 8]);
}

#[test]
fn every_system_comes_first_and_last() {
    let systems = System::ALL;
    let orders: Vec<_> = (0..2 * systems.len()).map(|n| order(&systems, n)).collect();
    for place in [0, systems.len() - 1] {
        let there: BTreeSet<_> = orders.iter().map(|order| order[place]).collect();
        assert_eq!(there.len(), systems.len());
    }
    assert_eq!(order(&[], 3), []);
}

#[test]
fn commands_are_those_that_are_told() {
    let disk = Path::new("/dev/nvme0n1");
    let size = Size {
        mib: Some(512),
        files: Some(1000),
    };
    let line = |system: System| {
        let line = system.mkfs(disk, size);
        line.map_or(String::new(), |line| line.to_string())
    };
    assert_eq!(
        line(System::Ext4),
        "mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 -N 1000 /dev/nvme0n1 512M"
    );
    assert_eq!(
        line(System::Xfs),
        "mkfs.xfs -q -f -K -d size=512m /dev/nvme0n1"
    );
    assert_eq!(
        line(System::Xv6),
        "mkfs.xv6 -q -F -K -N 1000 /dev/nvme0n1 512M"
    );
    assert_eq!(line(System::Tmpfs), "");
    for system in System::ALL {
        assert_eq!(System::by_name(system.name()), Some(system));
    }
}

#[test]
fn numbers_for_people() {
    for (value, text) in [
        (0.0, "0"),
        (0.0042, "0.0042"),
        (0.987, "0.99"),
        (1.0, "1.00"),
        (12.34, "12.3"),
        (99.96, "100"),
        (123.4, "123"),
        (1234.0, "1,234"),
        (1234567.0, "1,234,567"),
    ] {
        assert_eq!(number(value), text);
    }
    for (value, text) in [
        (0.25, "0.25"),
        (8.0, "8"),
        (12.5, "12"),
        (1500.0, "1.5k"),
        (50_000.0, "50k"),
        (1e6, "1M"),
    ] {
        assert_eq!(short(value), text);
    }
}

#[test]
fn a_time_is_over_when_it_is() {
    let begin = Instant::now();
    let (mut until, mut rounds) = (Until::new(Duration::from_millis(20), 8), 0);
    while !until.over() {
        rounds += 1;
    }
    assert!(begin.elapsed() >= Duration::from_millis(20));
    assert_eq!(rounds % 8, 0);
}

#[test]
fn threads_add_up_and_fail_together() {
    assert_eq!(on_threads(1, |n| Ok(n + 5)).expect("a sum"), 5);
    assert_eq!(on_threads(4, Ok).expect("a sum"), 6);
    let result = on_threads(4, |n| match n {
        2 => Err(io::Error::other("two")),
        n => Ok(n),
    });
    assert_eq!(result.expect_err("a failure").to_string(), "two");
}

#[test]
fn sizes_have_the_mean_that_was_asked_for() {
    let mut random = Random::new(7);
    let sizes: Vec<f64> = (0..20_000).map(|_| random.gamma(1.5, 16384.0)).collect();
    let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
    assert!((mean / 16384.0 - 1.0).abs() < 0.03, "{mean}");
    // The variance of a gamma distribution is the mean squared over the shape
    let variance = sizes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / sizes.len() as f64;
    assert!((variance / (16384.0 * 16384.0 / 1.5) - 1.0).abs() < 0.1);
}

#[test]
fn a_fileset_gives_each_file_to_one_thread() {
    let dir = tempfile::tempdir().expect("a folder");
    let set = Fileset::new(dir.path(), (100, 5, 80), 1000).expect("a set");
    let mut random = Random::new(1);
    let mut existing = BTreeSet::new();
    while let Some(entry) = set.take(Which::Existing, &mut random) {
        assert!(entry.path.is_file());
        // 100 files, 5 in a folder, are two levels of folders
        let depth = entry.path.strip_prefix(dir.path()).expect("inside");
        assert_eq!(depth.components().count(), 3);
        assert!(existing.insert(entry.path));
    }
    let mut absent = 0;
    while let Some(entry) = set.take(Which::Absent, &mut random) {
        assert!(!entry.path.exists());
        absent += 1;
        if absent == 1 {
            let path = entry.path.clone();
            set.put(Which::Existing, entry);
            let again = set.take(Which::Existing, &mut random).expect("that one");
            assert_eq!(again.path, path);
        }
    }
    assert_eq!(existing.len() + absent, 100);
    assert!((70..90).contains(&existing.len()));
}

#[test]
fn scripts_for_sqlite() {
    let script = sqlite::transactions(3, "FULL");
    assert!(script.starts_with("PRAGMA synchronous=FULL;\n"));
    assert_eq!(script.matches("COMMIT;").count(), 3);
    assert_eq!(sqlite::selections(5).lines().count(), 5);
    // Every system gets the same
    assert_eq!(script, sqlite::transactions(3, "FULL"));
}

/// All that needs no volume of its own, on any file system.
#[test]
fn loads_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let plan = Plan {
        window: Duration::from_millis(5),
        files: 40,
        large: 50,
        file: 2 << 20,
        personality: Duration::from_millis(20),
        set: 110,
        ..Plan::quick()
    };
    let none = Path::new("none");
    let mut visit = Visit::new(&plan, [none, dir.path(), none], (System::Tmpfs, 0, 1));
    for group in [
        Group::Metadata,
        Group::Directory,
        Group::Read,
        Group::Write,
        Group::Append,
        Group::Varmail,
        Group::Fileserver,
        Group::Webserver,
    ] {
        group.run(&mut visit).expect("a load that runs");
    }
    let samples = visit.into_samples();
    let mut names: Vec<_> = samples.iter().map(|s| s.row.to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), samples.len(), "a row is there twice");
    for sample in &samples {
        // Not every file system has O_DIRECT
        let direct = sample.row.name.ends_with("direct");
        assert!(sample.rate().is_some() || direct, "{}", sample.row);
        assert!(!sample.row.name.contains(','));
    }
    // 400 files would be there if nothing were removed
    let creates = samples.iter().filter(|s| s.row.name.contains("create"));
    assert!(creates.map(|s| s.count).eq([40, 40, 40]));
}

#[test]
fn a_failure_is_a_sample() {
    let dir = tempfile::tempdir().expect("a folder");
    let (plan, none) = (Plan::quick(), Path::new("none"));
    let mut visit = Visit::new(&plan, [none, dir.path(), none], (System::Tmpfs, 0, 1));
    fs::create_dir(dir.path().join("directory")).expect("a folder in the way");
    assert!(Group::Directory.run(&mut visit).is_err());
    let ends = bento_bench::speed::visit::Ends::Done;
    let failed = visit.measure(create(), ends, |_| Err(io::Error::other("no, never")));
    assert!(failed.is_err());
    let samples = visit.into_samples();
    assert_eq!(samples[0].failure, "no, never");
    let line: Sample = samples[0].to_string().parse().expect("a sample");
    assert_eq!((line.failure.as_str(), line.rate()), ("no; never", None));
}

#[test]
fn a_record_becomes_a_report() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("samples");
    fs::create_dir(&folder).expect("a folder");
    let read_row = Row::new("read", "read random 4 KiB warm", Unit::Bytes);
    let untar = Row::new("tree", "untar", Unit::Runs);
    for (place, system) in [(0, System::Ext4), (1, System::Xv6)] {
        let mut text = format!("{HEAD}\n");
        for threads in [1, 4] {
            let row = create().at(Axis::Threads, threads);
            // xv6 is half as fast, and with four threads a quarter
            let count = 800 * threads / (1 + place * threads);
            text += &format!("{}\n", sample(0, system, row, count, 1_000_000_000));
        }
        for row in [&read_row, &untar] {
            text += &format!("{}\n", sample(0, system, row.clone(), 1 << 20, 500_000_000));
        }
        fs::write(folder.join(format!("00-all-0-{}.csv", system.name())), text).expect("a file");
    }
    // What was being written when the run was interrupted
    fs::write(folder.join("01-all-0-xfs.new"), "torn").expect("a file");
    assert_eq!(read(dir.path()).expect("a record").len(), 8);

    fs::write(dir.path().join("host.txt"), "date: today\nbusy: load 20\n").expect("a file");

    let text = report::write(dir.path()).expect("a report");
    assert!(text.starts_with("# File systems beside each other\n\n**busy: load 20**\n"));
    for line in [
        "| metadata | 2 | 0.32 |",
        "- metadata: create, 4 threads: 0.20",
        "| create, 1 thread | 800 | 400 |",
        "| read random 4 KiB warm | 2.00 | 2.00 |",
        "- create, 1 to 4 threads: ext4 4.00, xv6 **1.60**",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let summary = fs::read_to_string(dir.path().join("summary.csv")).expect("a summary");
    let line = summary.lines().find(|l| l.contains("1,operations,xv6"));
    assert!(line
        .expect("a line")
        .contains(",400.0000,400.0000,400.0000,0.5000,"));
    for name in ["overview", "ratio-metadata", "growth-threads"] {
        let svg = fs::read_to_string(dir.path().join(format!("{name}.svg"))).expect("a picture");
        assert!(svg.contains("xv6"));
        let png = fs::File::open(dir.path().join(format!("{name}.png"))).expect("a picture");
        let mut reader = png::Decoder::new(io::BufReader::new(png))
            .read_info()
            .expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        reader.next_frame(&mut pixels).expect("a frame");
        // xv6's colour is there, and letters are
        assert!(pixels.chunks(3).any(|p| p == [210, 40, 40]), "{name}");
        assert!(
            pixels.chunks(3).filter(|p| p[0] < 60).count() > 100,
            "{name}"
        );
    }
}

proptest! {
    #[test]
    fn samples_are_read_as_they_were_written(
        numbers in prop::array::uniform11(any::<u64>()),
        system in prop::sample::select(System::ALL.to_vec()),
        axis in prop::sample::select(vec![Axis::None, Axis::Threads, Axis::Files, Axis::MiB]),
        unit in prop::sample::select(vec![Unit::Operations, Unit::Bytes, Unit::Runs]),
        name in "[a-z0-9 =-]{1,30}",
        failure in "[^,\n\r]{0,40}",
    ) {
        let [round, boot, at, count, ns, settle_ns, cpu_ns, read, written, flushes, slab] = numbers;
        let row = Row::new("group", name, unit).at(axis, at);
        let sample = Sample {
            round, boot, system, row, count, ns, settle_ns, cpu_ns, read, written, flushes, slab, failure,
        };
        prop_assert_eq!(sample.to_string().parse::<Sample>(), Ok(sample));
    }

    #[test]
    fn a_median_has_as_many_below_as_above(values in prop::collection::vec(0.1..1e9f64, 1..40)) {
        let spread = Spread::of(&values).expect("values");
        let below = values.iter().filter(|v| **v < spread.median).count();
        let above = values.iter().filter(|v| **v > spread.median).count();
        prop_assert!(below <= values.len() / 2 && above <= values.len() / 2);
        prop_assert!(spread.least <= spread.median && spread.median <= spread.most);
        let mut turned = values.clone();
        turned.reverse();
        prop_assert_eq!(Spread::of(&turned), Some(spread));
    }

    #[test]
    fn a_mean_turns_with_its_ratios(values in prop::collection::vec(0.01..100f64, 1..40)) {
        let mean = geometric_mean(values.iter().copied()).expect("values");
        let turned = geometric_mean(values.iter().map(|v| 1.0 / v)).expect("values");
        prop_assert!((mean * turned - 1.0).abs() < 1e-9);
    }

    #[test]
    fn random_numbers_stay_below(seed in any::<u64>(), limit in 0..u64::MAX) {
        let below = Random::new(seed).below(limit);
        prop_assert!(below < limit.max(1));
        let mut items: Vec<u64> = (0..50).collect();
        Random::new(seed).shuffle(&mut items);
        items.sort_unstable();
        prop_assert!(items.into_iter().eq(0..50));
    }
}
