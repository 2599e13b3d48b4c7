//! Settings that outlive the daemon that changed them.

mod lab;

use l2link_os::{NetNs, SavedSysctls};
use lab::{cable, ip, namespace, read, write_sysctl};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const FORWARD: &str = "net/ipv4/ip_forward";
const FORWARD6: &str = "net/ipv6/conf/all/forwarding";

#[test]
fn settings_are_put_back_and_the_file_is_removed() {
    let Some(netns) = namespace() else { return };
    let (_folder, file) = place();
    let mut sysctls = SavedSysctls::open(&netns, &file).unwrap();
    assert!(!file.exists());
    sysctls.set(FORWARD, "0").unwrap();
    assert!(!file.exists(), "nothing changed");
    sysctls.set(FORWARD, "1").unwrap();
    sysctls.set(FORWARD6, "1").unwrap();
    assert_eq!((value(&netns, FORWARD), value(&netns, FORWARD6)), ("1".into(), "1".into()));
    assert!(file.exists());
    let error = sysctls.set("net/ipv4/no_such_setting", "1").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    drop(sysctls);
    assert_eq!((value(&netns, FORWARD), value(&netns, FORWARD6)), ("0".into(), "0".into()));
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_killed_process_leaves_the_original_values_to_its_successor() {
    let Some(netns) = namespace() else { return };
    let (_folder, file) = place();
    crash(&netns, &file, &[(FORWARD, "1"), (FORWARD6, "1")]);
    assert_eq!(value(&netns, FORWARD), "1", "a crash puts nothing back");

    let mut successor = SavedSysctls::open(&netns, &file).unwrap();
    assert_eq!(value(&netns, FORWARD), "1", "transit goes on meanwhile");
    successor.set(FORWARD, "1").unwrap();
    // The configuration does not ask for the other one any more.
    successor.put_back_unclaimed();
    assert_eq!((value(&netns, FORWARD), value(&netns, FORWARD6)), ("1".into(), "0".into()));
    drop(successor);
    assert_eq!(value(&netns, FORWARD), "0");
    assert!(!file.exists());
}

#[test]
fn an_upgrade_hands_on_values_and_file() {
    let Some(netns) = namespace() else { return };
    let (_folder, file) = place();
    let mut sysctls = SavedSysctls::open(&netns, &file).unwrap();
    sysctls.set(FORWARD, "1").unwrap();
    sysctls.keep();
    assert_eq!(value(&netns, FORWARD), "1");
    drop(SavedSysctls::open(&netns, &file).unwrap());
    assert_eq!(value(&netns, FORWARD), "0");
}

#[test]
fn a_death_between_file_and_kernel_harms_nothing() {
    let Some(netns) = namespace() else { return };
    let (_folder, file) = place();
    crash(&netns, &file, &[(FORWARD, "1")]);
    // As if the kernel's value had not been written any more.
    write_sysctl(&netns, FORWARD, "0");
    let mut successor = SavedSysctls::open(&netns, &file).unwrap();
    successor.set(FORWARD, "1").unwrap();
    assert_eq!(value(&netns, FORWARD), "1");
    drop(successor);
    assert_eq!(value(&netns, FORWARD), "0");
}

#[test]
fn a_value_that_somebody_else_changed_stays() {
    let Some(netns) = namespace() else { return };
    let (_folder, file) = place();
    let path = "net/ipv4/conf/lo/rp_filter";
    write_sysctl(&netns, path, "0");
    let mut sysctls = SavedSysctls::open(&netns, &file).unwrap();
    sysctls.set(path, "1").unwrap();
    write_sysctl(&netns, path, "2");
    drop(sysctls);
    assert_eq!(value(&netns, path), "2");
}

/// Without `preserve` the interface would be left at 0: see the assertion on the kernel in the middle.
#[test]
fn what_ip_forward_wipes_is_preserved() {
    let (Some(netns), Some(other)) = (namespace(), namespace()) else { return };
    cable(&netns, "eth0", &other, "eth0");
    let (_folder, file) = place();
    let interface = ["net/ipv4/conf/eth0/forwarding", "net/ipv6/conf/eth0/forwarding"];
    for (path, all) in interface.iter().zip([FORWARD, FORWARD6]) {
        write_sysctl(&netns, path, "1");
        write_sysctl(&netns, all, "1");
        write_sysctl(&netns, all, "0");
        assert_eq!(value(&netns, path), "0", "the kernel sets {path} along with {all}");
        write_sysctl(&netns, path, "1");
    }
    let mut sysctls = SavedSysctls::open(&netns, &file).unwrap();
    for path in interface {
        sysctls.preserve(path).unwrap();
    }
    sysctls.set(FORWARD, "1").unwrap();
    sysctls.set(FORWARD6, "1").unwrap();
    drop(sysctls);
    assert_eq!((value(&netns, FORWARD), value(&netns, FORWARD6)), ("0".into(), "0".into()));
    assert_eq!(interface.map(|path| value(&netns, path)), ["1", "1"]);
}

#[test]
fn an_interface_that_is_gone_is_passed_over() {
    let (Some(netns), Some(other)) = (namespace(), namespace()) else { return };
    cable(&netns, "eth0", &other, "eth0");
    let (_folder, file) = place();
    let mut sysctls = SavedSysctls::open(&netns, &file).unwrap();
    sysctls.set(FORWARD, "1").unwrap();
    sysctls.set("net/ipv4/conf/eth0/arp_ignore", "1").unwrap();
    ip(&netns, "link del eth0");
    drop(sysctls);
    assert_eq!(value(&netns, FORWARD), "0");
    assert!(!file.exists());
}

#[test]
fn a_file_of_another_namespace_or_boot_or_without_sense_is_not_used() {
    let (Some(netns), Some(other)) = (namespace(), namespace()) else { return };
    let (_folder, file) = place();
    crash(&netns, &file, &[(FORWARD, "1")]);
    let good = std::fs::read_to_string(&file).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(good.contains(boot.trim()));
    write_sysctl(&other, FORWARD, "1");
    drop(SavedSysctls::open(&other, &file).unwrap());
    assert_eq!(value(&other, FORWARD), "1", "the file is not of this namespace");
    for bad in ["", "{}", "\u{0}\u{0}", &good.replace(boot.trim(), "another boot"), &good[..good.len() - 3]] {
        std::fs::write(&file, bad).unwrap();
        drop(SavedSysctls::open(&netns, &file).unwrap());
        assert_eq!(value(&netns, FORWARD), "1", "{bad}");
    }
    // A path that leads out of the network's settings is not followed.
    std::fs::write(&file, good.replace(FORWARD, "net/../kernel/hostname")).unwrap();
    let mut sysctls = SavedSysctls::open(&netns, &file).unwrap();
    sysctls.put_back_unclaimed();
    drop(sysctls);
    assert_eq!(value(&netns, FORWARD), "1");
    std::fs::write(&file, good).unwrap();
    drop(SavedSysctls::open(&netns, &file).unwrap());
    assert_eq!(value(&netns, FORWARD), "0", "and the good one is");
}

#[test]
fn nothing_is_changed_that_cannot_be_saved() {
    let Some(netns) = namespace() else { return };
    let (folder, _) = place();
    let mut sysctls = SavedSysctls::open(&netns, &folder.path().join("no/such/folder")).unwrap();
    assert!(sysctls.set(FORWARD, "1").is_err());
    assert_eq!(value(&netns, FORWARD), "0");
}

/// Makes the changes and ends as a killed process does: nothing is dropped.
fn crash(netns: &NetNs, file: &Path, changes: &[(&str, &str)]) {
    let mut sysctls = SavedSysctls::open(netns, file).unwrap();
    for (path, value) in changes {
        sysctls.set(path, value).unwrap();
    }
    std::mem::forget(sysctls);
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.sock.saved");
    (folder, file)
}

fn value(netns: &NetNs, path: &str) -> String {
    read(netns, &format!("/proc/sys/{path}")).trim().to_owned()
}
