// SPDX-License-Identifier: GPL-2.0

//! The program on a made-up `/sys` and `/proc`.

mod common;

use common::Root;
use serde_json::{
    json,
    Value, //
};
use std::{
    io::{
        BufRead,
        BufReader, //
    },
    os::unix::fs::PermissionsExt,
    process::Stdio,
    time::Duration, //
};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn list_shows_implementations() {
    let root = Root::new();
    let table = root.says(&["list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[0],
        "NAME      FORMAT  VERSION  READS STATE  WRITES STATE  MOUNTS"
    );
    assert_eq!(
        lines[2],
        "xv6       xv6     1        0-1          1             0"
    );
    let list = parsed(&root.says(&["list", "--json"]));
    assert_eq!(
        list["implementations"][2],
        json!({"name": "xv6-next", "format": "xv6", "version": 2, "state_reads": [1, 1],
               "state_writes": 1, "users": 0})
    );
}

#[test]
fn status_shows_mounts() {
    let root = Root::new();
    assert!(root.says(&["status"]).contains("nvme0n1  /mnt/a b    xv6"));
    root.set("nvme0n1", "upgrades", "3");
    root.set("nvme0n1", "last_pause_ns", "412300");
    assert!(root.says(&["status"]).contains("412.3 us"));
    for named in ["/mnt/a b", "nvme0n1", "/dev/nvme0n1"] {
        let one = parsed(&root.says(&["--json", "status", named]));
        assert_eq!(one["id"], "nvme0n1", "{named}");
        assert_eq!(one["mount_points"], json!(["/mnt/a b"]));
        assert_eq!(one["last"]["pause_ns"], 412_300);
    }
    let text = root.says(&["status", "nvme0n1"]);
    assert!(text.contains("last attempt    succeeded"), "{text}");
}

#[test]
fn without_upgrades_there_are_no_times() {
    let root = Root::new();
    assert_eq!(
        parsed(&root.says(&["--json", "status"]))["mounts"][0]["last"],
        Value::Null
    );
    assert!(!root.says(&["status", "nvme0n1"]).contains("pause"));
}

#[test]
fn nothing_loaded_and_nothing_mounted_are_said() {
    let root = Root::empty();
    std::fs::create_dir_all(root.path("sys/fs/bento/mounts")).expect("a folder");
    assert_eq!(root.says(&["list"]), "No implementation is loaded.\n");
    assert_eq!(root.says(&["status"]), "No Bento file system is mounted.\n");
}

#[test]
fn a_kernel_without_bento_is_said() {
    let root = Root::empty();
    for args in [
        &["list"][..],
        &["status"],
        &["status", "/"],
        &["upgrade", "/", "xv6"],
        &["watch"],
    ] {
        let text = root.refuses(args);
        assert!(text.contains("the running kernel has no Bento"), "{text}");
        assert!(text.contains("CONFIG_BENTO=y"), "{text}");
    }
}

#[test]
fn what_is_no_bento_mount_is_refused() {
    let root = Root::new();
    let text = root.refuses(&["status", "/"]);
    assert!(
        text.contains("sda1 is mounted, but not as a Bento file system"),
        "{text}"
    );
    let text = root.refuses(&["status", "/there/is/no/such/path"]);
    assert!(text.contains("No such file or directory"), "{text}");
    let text = root.refuses(&["status", "/dev/null"]);
    assert!(text.contains("not mounted as a Bento"), "{text}");
}

#[test]
fn upgrade_writes_the_name_to_sysfs() {
    let root = Root::new();
    let done = root.says(&["--json", "upgrade", "nvme0n1", "xv6-next", "--via", "sysfs"]);
    assert_eq!(root.read("sys/fs/bento/mounts/nvme0n1/upgrade"), "xv6-next");
    assert_eq!(parsed(&done)["from"], "xv6");
    assert_eq!(parsed(&done)["dry_run"], false);
}

#[test]
fn the_automatic_way_falls_back_to_sysfs() {
    let root = Root::new();
    root.mountinfo("");
    root.says(&["upgrade", "nvme0n1", "xv6-next"]);
    assert_eq!(root.read("sys/fs/bento/mounts/nvme0n1/upgrade"), "xv6-next");
    let text = root.refuses(&["upgrade", "nvme0n1", "xv6-next", "--via", "ioctl"]);
    assert!(text.contains("cannot reach it"), "{text}");
}

#[test]
fn sysfs_knows_no_dry_run() {
    let root = Root::new();
    let args = [
        "upgrade",
        "nvme0n1",
        "xv6-next",
        "--via",
        "sysfs",
        "--dry-run",
    ];
    assert!(root.refuses(&args).contains("sysfs knows no dry run"));
    assert_eq!(root.read("sys/fs/bento/mounts/nvme0n1/upgrade"), "");
}

#[test]
fn names_that_cannot_be_are_refused_before_the_kernel_is_asked() {
    let root = Root::new();
    for name in ["", "an-implementation-with-such-a-name"] {
        let text = root.refuses(&["upgrade", "nvme0n1", name, "--via", "sysfs"]);
        assert!(text.contains("is no name"), "{text}");
    }
}

#[test]
fn refusals_are_json_too() {
    let root = Root::new();
    std::fs::remove_file(root.path("sys/fs/bento/mounts/nvme0n1/upgrade")).expect("a file");
    let output = root.run(&["--json", "upgrade", "nvme0n1", "none", "--via", "sysfs"]);
    let refused = parsed(std::str::from_utf8(&output.stdout).expect("text"));
    assert_eq!(refused["refused"]["error"], "ENOENT");
    assert_eq!(refused["refused"]["what"], "nvme0n1: not switched to none");
    assert_eq!(
        refused["refused"]["why"],
        "no implementation `none` is loaded"
    );
    let remedy = refused["refused"]["remedy"].as_str().expect("text");
    assert!(remedy.contains("--load") && remedy.ends_with("another one: xv6, xv6-next"));
}

#[test]
fn a_file_that_makes_no_sense_is_named() {
    let root = Root::new();
    for (name, value) in [("version", "two"), ("upgrades", "-1"), ("last_error", "")] {
        let root = Root::new();
        root.set("nvme0n1", name, value);
        let text = root.refuses(&["status"]);
        assert!(
            text.contains(&format!("nvme0n1/{name}: `{value}` is not understood")),
            "{text}"
        );
    }
    root.implementation("xv6", "xv6", 1, "1-2-3", 1);
    assert!(root.refuses(&["list"]).contains("`1-2-3`"));
}

fn modprobe(root: &Root, script: &str) -> String {
    root.write("modprobe", script);
    let path = root.path("modprobe");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("permissions");
    path.to_str().expect("text").to_owned()
}

#[test]
fn load_loads_what_is_not_there() {
    let root = Root::new();
    let program = modprobe(
        &root,
        "#!/bin/sh\necho \"$@\" >>\"$BENTOCTL_ROOT/loaded\"\n",
    );
    let args = |name| {
        let head = ["upgrade", "nvme0n1", name, "--via", "sysfs"];
        [&head[..], &["--load", "--modprobe", &program]].concat()
    };
    root.says(&args("xv6-next"));
    assert!(!root.path("loaded").exists(), "it is there");
    root.says(&args("xv6-prov"));
    assert_eq!(root.read("loaded"), "-- xv6-prov\n");
    modprobe(&root, "#!/bin/sh\nexit 1\n");
    let text = root.refuses(&args("xv6-none"));
    assert!(
        text.contains("xv6-none: not loaded") && text.contains("exit status: 1"),
        "{text}"
    );
}

#[test]
fn watch_sees_upgrades_and_refusals() {
    let root = Root::new();
    let mut child = root
        .command(&["--json", "watch", "--poll=10", "--count", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bentoctl runs");
    // Its first look comes after this line
    let mut line = String::new();
    let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
    errors.read_line(&mut line).expect("a line");
    assert_eq!(line, "bentoctl: looking at sysfs every 10 ms\n");
    std::thread::sleep(Duration::from_millis(300));
    root.set("nvme0n1", "implementation", "xv6-next");
    root.set("nvme0n1", "last_pause_ns", "5000");
    root.set("nvme0n1", "upgrades", "1");
    let mut events = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let first = parsed(&events.next().expect("a line").expect("text"));
    assert_eq!(
        first,
        json!({"mount": "nvme0n1", "event": "upgrade", "from": "xv6", "to": "xv6-next",
               "pause_ns": 5000, "error": null})
    );
    root.set("nvme0n1", "last_error", "16");
    root.set("nvme0n1", "refusals", "1");
    let second = parsed(&events.next().expect("a line").expect("text"));
    assert_eq!(second["event"], "refused");
    assert_eq!(second["error"], "EBUSY");
    assert!(child.wait().expect("a status").success());
}

#[test]
fn the_manual_names_every_command_and_option() {
    let page = Root::empty().says(&["man"]);
    for word in [
        "list",
        "status",
        "upgrade",
        "watch",
        "completions",
        "man",
        "MOUNT",
        "IMPLEMENTATION",
    ] {
        assert!(page.contains(word), "{word}");
    }
    for option in ["dry", "load", "via", "count", "poll", "json"] {
        assert!(page.contains(&format!("\\-\\-{option}")), "{option}");
    }
    assert!(!page.contains("modprobe PROGRAM") && !page.contains("\\-\\-root"));
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = Root::empty().says(&["completions", shell]);
        assert!(
            script.contains("bentoctl") && script.contains("dry-run"),
            "{shell}"
        );
    }
}
