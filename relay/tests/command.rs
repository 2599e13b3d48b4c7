//! The command as its user meets it: wrong configuration files, and what it says about them.

use rstest::rstest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const LINK: &str = "name = \"relay1\"\n[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\n";

#[test]
fn a_valid_file_passes() {
    let port = "[[port]]\ninterface = \"eth1\"\nrelay_services = [\"tcp/22\", \"udp/*\"]\nunmatched = \"kernel\"\n\
                [[port.allow]]\ncontrol = \"control1\"\nservices = [\"tcp/80\", \"ip/ospf\"]\n\
                [[port.allow]]\ncontrol = \"*\"\n";
    let output = check(&format!("{LINK}{port}"));
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output), "");
}

/// What stands behind the link section, and the place and the message that are expected.
#[rstest]
#[case::unknown_key("color = 1\n", "5:1: unknown field `color`")]
#[case::unknown_port_key("[[port]]\ninterface = \"eth1\"\nspeed = 1\n", "7:1: unknown field `speed`")]
#[case::no_interface("[[port]]\nrelay_services = []\n", "5:1: missing field `interface`")]
#[case::bad_service(
    "[[port]]\ninterface = \"eth1\"\nrelay_services = [\"tcp/22\", \"ssh\"]\n",
    "7:29: \"ssh\" names no service"
)]
#[case::bad_unmatched(
    "[[port]]\ninterface = \"eth1\"\nunmatched = \"reject\"\n",
    "7:13: unknown variant `reject`"
)]
#[case::no_control("[[port]]\ninterface = \"eth1\"\n[[port.allow]]\n", "7:1: missing field `control`")]
#[case::bad_control(
    "[[port]]\ninterface = \"eth1\"\n[[port.allow]]\ncontrol = \"a b\"\n",
    "8:11: a device name has"
)]
#[case::bad_name("[[port]]\ninterface = \"eth1/2\"\n", "6:13: an interface name cannot hold '/'")]
#[case::name_of_no_rule(
    "[[port]]\ninterface = \"eth*\"\n",
    "6:13: an interface called eth* cannot be lent: nftables cannot name it"
)]
#[case::port_twice(
    "[[port]]\ninterface = \"eth1\"\n[[port]]\ninterface = \"eth1\"\n",
    "8:13: port eth1 is here twice"
)]
#[case::link_as_port("[[port]]\ninterface = \"lan0\"\n", "6:13: lan0 is the interface of the [link]")]
#[case::ethertype("ethertype = 0x500\n", "5:13: 0x0500 is no EtherType")]
fn an_error_names_the_place(#[case] rest: &str, #[case] expected: &str) {
    let output = check(&format!("{LINK}{rest}"));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let expected = format!("error: relay.toml:{expected}");
    assert!(
        text(&output).lines().any(|line| line.starts_with(&expected)),
        "{expected:?} in {}",
        text(&output)
    );
    assert!(text(&output).contains('^'), "{}", text(&output));
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let output = run(LINK, 0o644, &["--config", "relay.toml", "--check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).starts_with("error: relay.toml:4:12: key file"), "{}", text(&output));
    assert!(text(&output).contains("chmod 600"), "{}", text(&output));
}

#[test]
fn a_missing_file_is_named() {
    let output = run(LINK, 0o600, &["--config", "none.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).starts_with("error: none.toml: no such file"), "{}", text(&output));
}

#[test]
fn nobody_permitted_is_warned_of() {
    let output = check(&format!("{LINK}[[port]]\ninterface = \"eth1\"\n"));
    assert!(output.status.success());
    assert!(text(&output).contains("relay.toml:6:13: port eth1 has no [[port.allow]]"), "{}", text(&output));
}

fn check(config: &str) -> Output {
    run(config, 0o600, &["--config", "relay.toml", "--check"])
}

/// Runs the command in a folder with this configuration and a key file of these permission bits.
fn run(config: &str, mode: u32, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("relay.toml"), config).unwrap();
    key(&folder.path().join("psk"), mode);
    let mut command = Command::new(env!("CARGO_BIN_EXE_l2relay"));
    command.args(arguments).current_dir(folder.path()).env_remove("RUST_LOG").output().unwrap()
}

fn key(path: &Path, mode: u32) {
    fs::write(path, "ab".repeat(32)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
