// SPDX-License-Identifier: GPL-2.0

//! What the kernel answers, in words; uevents; and the request itself.

use bentoctl::{
    refusal::Asked,
    sysfs::{
        Implementation,
        Mount, //
    },
    uapi::{
        self,
        BentoUpgrade, //
    },
    watch, //
};

fn implementation(name: &str, format: &str, reads: (u32, u32), writes: u32) -> Implementation {
    Implementation {
        name: name.into(),
        format: format.into(),
        version: 1,
        state_reads: reads,
        state_writes: writes,
        users: 0,
    }
}

fn mount(state: &str) -> Mount {
    Mount {
        id: "vdb".into(),
        mount_points: vec!["/mnt".into()],
        implementation: "xv6".into(),
        version: 1,
        state: state.into(),
        upgrades: 0,
        refusals: 0,
        last_error: 0,
        last: None,
    }
}

/// Why, and what to do.
fn words(state: &str, to: &str, errno: i32) -> (String, String) {
    let known = mount(state);
    let implementations = [
        implementation("xv6", "xv6", (0, 4), 4),
        implementation("xv6-old", "xv6", (0, 3), 3),
        implementation("other", "other", (1, 1), 1),
    ];
    let asked = Asked {
        mount: "/mnt",
        known: Some(&known),
        to,
        implementations: &implementations,
    };
    let refusal = asked.refusal(errno);
    assert_eq!(refusal.what, format!("/mnt: not switched to {to}"));
    (refusal.why.clone(), refusal.remedy.clone())
}

#[test]
fn each_errno_has_a_reason_and_a_remedy_of_its_own() {
    let errnos = [
        libc::EPERM,
        libc::ENOTTY,
        libc::ENOENT,
        libc::EINVAL,
        libc::EPROTONOSUPPORT,
        libc::EBADMSG,
        libc::EOPNOTSUPP,
        libc::EBUSY,
        libc::EALREADY,
        libc::EIO,
        libc::ESHUTDOWN,
        libc::ENOMEM,
        libc::E2BIG,
        libc::ENOSYS,
    ];
    let mut seen = Vec::new();
    for errno in errnos {
        let name = bentoctl::refusal::name(errno);
        assert!(name.starts_with('E'), "{errno} has no name");
        let (why, remedy) = words("serving", "xv6-old", errno);
        assert_ne!(remedy, "see the kernel's log", "{name}");
        assert!(!seen.contains(&why), "{name}: {why}");
        seen.push(why);
    }
}

#[test]
fn reasons_have_what_sysfs_knows() {
    let (why, remedy) = words("serving", "xv6-old", libc::EPROTONOSUPPORT);
    assert_eq!(why, "xv6 hands over state of version 4, xv6-old reads 0-3");
    assert!(remedy.contains("impl=xv6-old"));
    let (why, remedy) = words("serving", "other", libc::EINVAL);
    assert_eq!(why, "other is for the format other, /mnt holds xv6");
    assert_eq!(remedy, "choose one of: xv6, xv6-old");
    let (_, remedy) = words("serving", "none", libc::ENOENT);
    assert!(remedy.ends_with("another one: xv6, xv6-old"), "{remedy}");
}

#[test]
fn a_frozen_mount_is_told_from_a_busy_one() {
    let (why, remedy) = words("frozen", "xv6-old", libc::EBUSY);
    assert_eq!(why, "the mount is frozen");
    assert_eq!(remedy, "thaw it first: fsfreeze --unfreeze /mnt");
    let (_, remedy) = words("serving", "xv6-old", libc::EBUSY);
    assert!(remedy.contains("/sys/fs/bento/mounts/vdb/drain_limit_us"));
}

#[test]
fn an_errno_nobody_thought_of_is_still_said() {
    let (why, remedy) = words("serving", "xv6-old", libc::EMFILE);
    assert!(why.contains("Too many open files"), "{why}");
    assert_eq!(remedy, "see the kernel's log");
}

fn message(fields: &[&str]) -> Vec<u8> {
    fields.iter().flat_map(|f| f.bytes().chain([0])).collect()
}

#[test]
fn uevents_are_understood() {
    let head = "change@/fs/bento/mounts/nvme0n1";
    let event = watch::parse(&message(&[
        head,
        "ACTION=change",
        "BENTO_EVENT=upgrade",
        "BENTO_FROM=xv6",
        "BENTO_TO=xv6-next",
        "BENTO_PAUSE_NS=123",
    ]))
    .expect("an event");
    assert_eq!(
        (event.mount.as_str(), event.event.as_str()),
        ("nvme0n1", "upgrade")
    );
    assert_eq!(
        (event.pause_ns, event.to.as_deref()),
        (Some(123), Some("xv6-next"))
    );
    for error in ["16", "-16", "EBUSY"] {
        let field = format!("BENTO_ERROR={error}");
        let event = watch::parse(&message(&[head, "BENTO_EVENT=refused", &field]));
        assert_eq!(event.expect("an event").error.as_deref(), Some("EBUSY"));
    }
}

#[test]
fn other_uevents_are_left_alone() {
    for fields in [
        &["change@/devices/virtual/block/loop0", "BENTO_EVENT=upgrade"][..],
        &["change@/fs/bento/mounts/nvme0n1", "SEQNUM=1"],
        &["libudev"],
        &[],
    ] {
        assert_eq!(watch::parse(&message(fields)), None, "{fields:?}");
    }
    assert_eq!(watch::parse(b"change@\xff\0BENTO_EVENT=upgrade\0"), None);
}

#[test]
fn requests_hold_names_of_31_bytes() {
    let longest = "x".repeat(31);
    let request = BentoUpgrade::new(&longest, uapi::DRY_RUN).expect("a request");
    assert_eq!(
        (request.to_name(), request.size, request.flags),
        (longest, 136, 1)
    );
    assert_eq!(request.name[31], 0);
    for name in ["", "a\0b", &"x".repeat(32)] {
        assert_eq!(BentoUpgrade::new(name, 0), None);
    }
}

#[test]
fn a_file_of_another_file_system_does_not_know_the_ioctl() {
    let file = tempfile::tempfile().expect("a file");
    let mut request = BentoUpgrade::new("xv6", 0).expect("a request");
    let error = uapi::by_ioctl(&file, &mut request).expect_err("no Bento");
    assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
}
