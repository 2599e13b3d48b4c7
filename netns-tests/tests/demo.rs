//! The stories of `tools/demo` are told to their end, by the built daemons and programs of others, and leave nothing behind.

use netns_tests::{Finished, binary};
use rstest::rstest;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Each story has namespaces of fixed names: a second telling would end the first.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn demo(arguments: &[&str]) -> Finished {
    let folder = binary("l2relay").parent().expect("a folder of programs").to_owned();
    let mut command = Command::new("timeout");
    command.args(["--signal=TERM", "--kill-after=10", "60"]).arg(root().join("tools/demo")).args(arguments);
    Finished::new(command.env("L2LINK_BIN_DIR", folder))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder").to_owned()
}

#[rstest]
#[case::server(&[], "l2demo-", &["Hello from the control.", "Longest gap"])]
#[case::router(&["router"], "l2router-", &["2  192.0.2.1 ", "on the segment meanwhile: 0.", " 0% packet loss", "No difference."])]
#[case::balance(&["balance"], "l2balance-", &["Failed requests: 0 of", "control3 got", "The power comes back"])]
fn a_story_is_told_and_leaves_nothing(
    #[case] arguments: &[&str],
    #[case] namespaces: &str,
    #[case] expected: &[&str],
) {
    if !nix::unistd::geteuid().is_root() {
        let _ =
            writeln!(io::stderr(), "SKIPPED the demo: network namespaces need root; run `sudo tools/test`");
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let story = demo(arguments).expect_success();
    for words in expected {
        assert!(story.contains(words), "{words:?} is not in the story:\n{story}");
    }
    let left = Finished::new(Command::new("ip").args(["netns", "list"])).expect_success();
    assert!(!left.contains(namespaces), "{left}");
}

#[test]
fn a_step_that_fails_fails_the_demo() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    for program in ["l2relay", "l2control", "l2ctl"] {
        std::os::unix::fs::symlink("/bin/false", folder.path().join(program)).unwrap();
    }
    for story in ["server", "router", "balance"] {
        let mut command = Command::new("timeout");
        command.arg("60").arg(root().join("tools/demo")).arg(story).env("L2LINK_BIN_DIR", folder.path());
        let told = Finished::new(&mut command);
        assert_eq!(told.code(), Some(1), "{told}");
        assert!(told.stderr().contains("FAILED: waited"), "{told}");
    }
}

#[rstest]
fn examples_are_valid(
    #[values("l2relay", "l2control")] program: &str,
    #[values("", "router", "balance", "keys")] folder: &str,
) {
    let file = program.trim_start_matches("l2");
    let copy = tempfile::tempdir().unwrap();
    let example = root().join("examples").join(folder).join(format!("{file}.toml"));
    let config = copy.path().join("config.toml");
    std::fs::copy(example, &config).unwrap();
    for key in ["psk", "key"] {
        std::fs::write(copy.path().join(key), netns_tests::PSK).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(copy.path().join(key), mode).unwrap();
    }
    let checked = Finished::new(Command::new(binary(program)).arg("--config").arg(&config).arg("--check"));
    assert!(checked.success(), "{checked}");
}
