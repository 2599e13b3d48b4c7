//! What bad configuration files get: file, line and column, what is wrong, what to do, exit code 2.

use rstest::rstest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const LINK: &str = "name = \"control1\"\n[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\n";

#[test]
fn a_good_file_is_ok() {
    let symbols = "[api]\nsocket = \"control.sock\"\n\
        [[symbol]]\nkind = \"interface\"\nrelay = \"relay1\"\nport = \"eth1\"\nname = \"eth1\"\nnetns = \"router\"\n\
        services = [\"tcp/80\", \"udp/*\", \"ip/ospf\"]\ngateway = [\"192.0.2.254\", \"2001:db8::1\"]\n\
        [[symbol]]\nrelay = \"relay1\"\nport = \"eth1\"\n\
        [[symbol]]\nkind = \"address\"\nrelay = \"relay1\"\nport = \"eth1\"\nname = \"web\"\naddress = \"192.0.2.10\"\n\
        local = \"10.99.0.2\"\ndefault_route = true\nservices = [\"tcp/80\"]\n\
        [routes]\nenabled = true\n";
    let (output, folder) = check(symbols, 0o600);
    assert!(output.status.success(), "{}", stderr(&output));
    let path = folder.path().join("control.toml");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{}: ok\n", path.display()));
}

#[rstest]
#[case::unknown_key("[[symbol]]\nrelay = \"r\"\nport = \"e\"\ncolor = 1\n", "8:1: unknown field `color`")]
#[case::no_relay("[[symbol]]\nport = \"e\"\n", "5:1: missing field `relay`")]
#[case::no_address(
    "[[symbol]]\nkind = \"address\"\nrelay = \"r\"\nport = \"e\"\n",
    "8:8: a symbol of kind \"address\" without `address`"
)]
#[case::address_of_an_interface(
    "[[symbol]]\nrelay = \"r\"\nport = \"e\"\naddress = \"192.0.2.10\"\n",
    "8:11: `address`, `local` and `default_route` are of kind = \"address\""
)]
#[case::no_hosts_address(
    "[[symbol]]\nkind = \"address\"\nrelay = \"r\"\nport = \"e\"\naddress = \"fe80::1\"\n",
    "9:11: fe80::1 cannot be the address of a symbol"
)]
#[case::another_version(
    "[[symbol]]\nkind = \"address\"\nrelay = \"r\"\nport = \"e\"\naddress = \"192.0.2.10\"\nlocal = \"fd00::2\"\n",
    "10:9: fd00::2 cannot stand for 192.0.2.10"
)]
#[case::gateway_of_an_address(
    "[[symbol]]\nkind = \"address\"\nrelay = \"r\"\nport = \"e\"\naddress = \"192.0.2.10\"\ngateway = [\"192.0.2.1\"]\n",
    "10:12: a symbol of kind \"address\" has no gateway"
)]
#[case::claimed_twice(
    "[[symbol]]\nkind = \"address\"\nrelay = \"r\"\nport = \"e\"\naddress = \"192.0.2.10\"\n\
     [[symbol]]\nkind = \"address\"\nrelay = \"r\"\nport = \"f\"\naddress = \"192.0.2.10\"\n",
    "14:11: 192.0.2.10 as 100."
)]
#[case::files_in_a_namespace(
    "[[symbol]]\nkind = \"files\"\nrelay = \"r\"\nport = \"e\"\nnetns = \"n\"\n",
    "9:9: a symbol of kind \"files\" is in no namespace"
)]
#[case::gateway_of_files(
    "[[symbol]]\nkind = \"files\"\nrelay = \"r\"\nport = \"e\"\ngateway = [\"192.0.2.1\"]\n",
    "9:12: a symbol of kind \"files\" has no gateway"
)]
#[case::address_of_files(
    "[[symbol]]\nkind = \"files\"\nrelay = \"r\"\nport = \"e\"\naddress = \"192.0.2.1\"\n",
    "9:11: `address`, `local` and `default_route` are of kind = \"address\""
)]
#[case::weight_of_files(
    "[[symbol]]\nkind = \"files\"\nrelay = \"r\"\nport = \"e\"\nweight = \"auto\"\n",
    "9:10: a symbol of kind \"files\" has no queue"
)]
#[case::files_twice(
    "[[symbol]]\nkind = \"files\"\nrelay = \"r\"\nport = \"e\"\n[[symbol]]\nkind = \"files\"\nrelay = \"r\"\nport = \"e\"\n",
    "12:8: a second symbol of kind \"files\" of port e of r"
)]
#[case::owner_of_an_interface(
    "[[symbol]]\nrelay = \"r\"\nport = \"e\"\nuid = 0\n",
    "8:7: `uid`, `gid` and `mode` are of kind = \"files\""
)]
#[case::no_such_user(
    "[[symbol]]\nkind = \"files\"\nrelay = \"r\"\nport = \"e\"\nuid = \"nobody-here\"\n",
    "9:7: there is no user \"nobody-here\" on this machine"
)]
#[case::no_group(
    "[[symbol]]\nkind = \"files\"\nrelay = \"r\"\nport = \"e\"\ngid = -1\n",
    "9:7: -1 is not the number of a group"
)]
#[case::executable_files(
    "[[symbol]]\nkind = \"files\"\nrelay = \"r\"\nport = \"e\"\nmode = \"0755\"\n",
    "9:8: \"0755\" cannot be the mode of files"
)]
#[case::no_mode(
    "[[symbol]]\nkind = \"files\"\nrelay = \"r\"\nport = \"e\"\nmode = \"rw\"\n",
    "9:8: \"rw\" cannot be the mode of files"
)]
#[case::no_mount_point("[files]\nmount = \"/\"\n", "6:9: files cannot be mounted at /")]
#[case::unknown_kind("[[symbol]]\nkind = \"x\"\nrelay = \"r\"\nport = \"e\"\n", "6:8: unknown variant `x`")]
#[case::service(
    "[[symbol]]\nrelay = \"r\"\nport = \"e\"\nservices = [\"tcp/80\", \"http\"]\n",
    "8:23: \"http\" names no service"
)]
#[case::gateway(
    "[[symbol]]\nrelay = \"r\"\nport = \"e\"\ngateway = [\"192.0.2.1/24\"]\n",
    "8:12: invalid IP address syntax"
)]
#[case::group(
    "[[symbol]]\nrelay = \"r\"\nport = \"e\"\ngateway = [\"224.0.0.1\"]\n",
    "8:12: 224.0.0.1 cannot be"
)]
#[case::two_gateways(
    "[[symbol]]\nrelay = \"r\"\nport = \"e\"\ngateway = [\"192.0.2.1\", \"192.0.2.2\"]\n",
    "8:25: a second gateway for IPv4: 192.0.2.1 is one already"
)]
#[case::long_name(
    "[[symbol]]\nrelay = \"r\"\nport = \"e\"\nname = \"sixteen-letters-\"\n",
    "8:8: an interface name has at most 15 characters"
)]
#[case::namespace(
    "[[symbol]]\nrelay = \"r\"\nport = \"e\"\nnetns = \"/run/netns/a\"\n",
    "8:9: \"/run/netns/a\" cannot be the name of a network namespace"
)]
#[case::twice(
    "[[symbol]]\nrelay = \"r\"\nport = \"e\"\n[[symbol]]\nrelay = \"s\"\nport = \"e\"\n",
    "10:8: a second symbol with the interface name e"
)]
#[case::one_port_twice_in_one_namespace(
    "[[symbol]]\nrelay = \"r\"\nport = \"e\"\nnetns = \"n\"\n\
     [[symbol]]\nrelay = \"r\"\nport = \"e\"\nname = \"f\"\nnetns = \"n\"\n",
    "11:8: a second symbol of port e of r in one namespace: e is one already"
)]
fn errors_name_the_place(#[case] symbols: &str, #[case] expected: &str) {
    let (output, folder) = check(symbols, 0o600);
    let path = folder.path().join("control.toml");
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let expected = format!("error: {}:{expected}", path.display());
    assert!(stderr.starts_with(&expected), "\n{stderr}\ndoes not begin with\n{expected}");
    assert!(stderr.contains('^'), "the place is shown: {stderr}");
}

#[rstest]
#[case::keep("keep_symbols_ms", 0, 3_600_000)]
#[case::hold("carrier_hold_ms", 0, 3_600_000)]
fn times_have_bounds(#[case] key: &str, #[case] least: u64, #[case] most: u64) {
    let file = |value: u64| write(&format!("{key} = {value}\n{LINK}"), 0o600);
    for value in [least, most] {
        let (path, _folder) = file(value);
        let output = run(&path);
        assert!(output.status.success(), "{value}: {}", stderr(&output));
    }
    let (path, _folder) = file(most + 1);
    let output = run(&path);
    assert_eq!(output.status.code(), Some(2));
    let expected =
        format!("control.toml:1:{}: {key} is {}; 0 to {most} are allowed", key.len() + 4, most + 1);
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let (output, _folder) = check("", 0o644);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("control.toml:4:12: ") && stderr.contains("chmod 600"), "{stderr}");
}

#[test]
fn a_missing_file_is_named() {
    let output = run(Path::new("/nowhere/control.toml"));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: /nowhere/control.toml: no such file"), "{}", stderr(&output));
}

fn check(symbols: &str, key_mode: u32) -> (Output, tempfile::TempDir) {
    let (path, folder) = write(&format!("{LINK}{symbols}"), key_mode);
    (run(&path), folder)
}

fn write(text: &str, key_mode: u32) -> (PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("psk");
    fs::write(&key, "00".repeat(32)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(key_mode)).unwrap();
    let path = folder.path().join("control.toml");
    fs::write(&path, text).unwrap();
    (path, folder)
}

fn run(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_l2control")).arg("--check").arg("--config").arg(path).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
