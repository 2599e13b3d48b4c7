use super::*;
use crate::config_file::ApiSection;
use crate::config_file::load;
use rstest::rstest;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    api: ApiSection,
    link: LinkSection,
    #[serde(default)]
    peer: Vec<PeerSection>,
}

/// What a file with these lines in `[link]` means; a good key is in the file `psk` beside it, one that all can read in
/// `open`. The folder's name is taken out of errors.
fn settings(lines: &str) -> Result<LinkSettings, String> {
    with_folder(&format!("[link]\n{lines}\n"), |file, source| {
        file.link.check(Role::Control, &file.peer, source)
    })
}

fn with_folder<T>(
    text: &str,
    check: impl FnOnce(&File, &ConfigSource) -> Result<T, ConfigError>,
) -> Result<T, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, mode) in [("psk", 0o600), ("open", 0o644)] {
        let path = folder.path().join(name);
        fs::write(&path, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let path = folder.path().join("c.toml");
    fs::write(&path, text).unwrap();
    load::<File>(&path)
        .and_then(|(file, source)| check(&file, &source))
        .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

#[test]
fn two_lines_are_enough() {
    let settings = settings("interface = \"lan0\"\npsk_file = \"psk\"").unwrap();
    assert_eq!(settings.interface, "lan0");
    assert_eq!(settings.ethertype, 0x88b5);
    assert!(matches!(&settings.security, Security::Psk(key) if key[31] == 0xff));
    assert_eq!((settings.control, settings.data), (Protection::SEALED, Protection::SEALED));
    assert_eq!((settings.keepalive, settings.missed), (Duration::from_millis(100), 3));
    assert_eq!(settings.warnings, [""; 0]);
    let config = settings.config("relay1", Role::Relay, BootId(7), Mac([2; 6]), 1500);
    assert_eq!((config.name.as_str(), config.mtu, config.ethertype), ("relay1", 1500, 0x88b5));
}

#[test]
fn a_key_log_warns_loudly_and_is_not_made_by_the_check() {
    let lines = "[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\nkeylog_file = \"keys\"\n";
    with_folder(lines, |file, source| {
        let settings = file.link.check(Role::Control, &file.peer, source)?;
        let path = source.resolve(Path::new("keys"));
        assert!(!path.exists());
        assert_eq!(settings.keylog, Some(path));
        assert!(settings.warnings[0].starts_with("KEY LOG: "), "{:?}", settings.warnings);
        Ok(())
    })
    .unwrap();
}

#[rstest]
#[case::off("", Policy::Off)]
#[case::where_it_can_be_had("fast_path = \"auto\"", Policy::Auto)]
#[case::clear("data = \"clear\"\nfast_path = \"require\"", Policy::Require)]
fn fast_path(#[case] lines: &str, #[case] expected: Policy) {
    let settings = settings(&format!("interface = \"lan0\"\npsk_file = \"psk\"\n{lines}")).unwrap();
    assert_eq!(settings.fast_path, expected);
}

#[test]
fn without_security_the_fast_path_has_packets_in_clear() {
    let lines = "interface = \"lan0\"\nsecurity = \"none\"\nfast_path = \"require\"";
    assert_eq!(settings(lines).unwrap().fast_path, Policy::Require);
}

#[rstest]
#[case::by_default(
    "fast_path = \"require\"",
    "c.toml:4:13: fast_path = \"require\" needs packets in clear, and without `data` they are sealed\n  |\n\
     4 | fast_path = \"require\"\n  |             ^^^^^^^^^\nhelp: data = \"clear\""
)]
#[case::written(
    "fast_path = \"require\"\ndata = \"sealed\"",
    "c.toml:5:8: data = \"sealed\" leaves nothing for fast_path = \"require\"\n  |\n5 | data = \"sealed\"\n  |        ^^^^^^^^"
)]
fn a_fast_path_of_sealed_packets_is_refused(#[case] lines: &str, #[case] expected: &str) {
    let error = settings(&format!("interface = \"lan0\"\npsk_file = \"psk\"\n{lines}")).unwrap_err();
    assert!(error.starts_with(expected), "{error}");
}

#[rstest]
#[case::sealed("", Protection::SEALED, Protection::SEALED)]
#[case::written("data = \"sealed\"\nencrypt = false", Protection::SEALED, Protection::SEALED)]
#[case::encrypted("encrypt = true", Protection::ENCRYPTED, Protection::ENCRYPTED)]
#[case::clear("data = \"clear\"", Protection::SEALED, Protection::CLEAR)]
#[case::both("encrypt = true\ndata = \"clear\"", Protection::ENCRYPTED, Protection::CLEAR)]
fn protection(#[case] lines: &str, #[case] control: Protection, #[case] data: Protection) {
    let settings = settings(&format!("interface = \"lan0\"\npsk_file = \"psk\"\n{lines}")).unwrap();
    assert_eq!((settings.control, settings.data), (control, data));
    assert_eq!(settings.warnings.len(), usize::from(data == Protection::CLEAR));
}

#[test]
fn no_security_must_be_written_out_and_warns() {
    let settings = settings("interface = \"lan0\"\nsecurity = \"none\"").unwrap();
    assert!(matches!(settings.security, Security::None));
    assert_eq!((settings.control, settings.data), (Protection::CLEAR, Protection::CLEAR));
    assert!(settings.warnings[0].contains("anyone on the segment of lan0"), "{:?}", settings.warnings);
}

#[test]
fn all_values_are_taken() {
    let lines = "interface = \"lan0\"\nethertype = 0x88B6\npsk_file = \"psk\"\nkeepalive_ms = 10\nmissed = 20\nbusy_poll_us = 1000";
    let settings = settings(lines).unwrap();
    assert_eq!(settings.ethertype, 0x88b6);
    assert_eq!((settings.keepalive, settings.missed), (Duration::from_millis(10), 20));
    assert_eq!(settings.busy_poll, Duration::from_millis(1));
}

/// In mode keys, with the private key that is in `psk` as well.
fn with_keys(lines: &str) -> Result<LinkSettings, String> {
    settings(&format!("interface = \"lan0\"\nsecurity = \"keys\"\n{lines}"))
}

const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
/// That of the private key.
const OWN: &str = "gh5UUPNhAgcsyHQJFKDev1hHSkCMIE/idFDnmcnMwjU=";

#[test]
fn keys_are_those_of_the_peers() {
    let peer = format!("private_key_file = \"psk\"\n[[peer]]\nname = \"relay1\"\npublic_key = \"{KEY}\"");
    let settings = with_keys(&peer).unwrap();
    let Security::Keys(keys) = &settings.security else { panic!("{:?}", settings.security) };
    assert_eq!(keys.peers, [("relay1".to_owned(), KEY.parse().unwrap())]);
    assert_eq!((keys.private.bytes()[31], keys.psk.is_none()), (0x7f, true));
    assert!(settings.may_meet("relay1") && !settings.may_meet("relay2"));
    assert_eq!((settings.control, settings.data), (Protection::SEALED, Protection::SEALED));
    assert_eq!(settings.warnings, [""; 0]);
    assert!(!format!("{settings:?}").contains("[0, 1, 2"), "{settings:?}");

    let settings = with_keys("private_key_file = \"psk\"\npsk_file = \"psk\"").unwrap();
    assert!(matches!(&settings.security, Security::Keys(keys) if keys.psk.is_some()));
    assert!(
        settings.warnings[0].ends_with("there is no [[peer]]: no relay is one that this device believes")
    );
}

#[rstest]
#[case::no_file("", "c.toml:3:12: this link has no `private_key_file`", "l2ctl genkey > key")]
#[case::no_such(
    "private_key_file = \"nokey\"",
    "c.toml:4:20: key file nokey cannot be read",
    "l2ctl genkey > nokey"
)]
#[case::open(
    "private_key_file = \"open\"",
    "c.toml:4:20: key file open is open to other users",
    "`chmod 600 open`"
)]
#[case::psk("private_key_file = \"psk\"\npsk_file = \"open\"", "c.toml:5:12: key file open is open", "chmod")]
#[case::without(
    "private_key_file = \"psk\"\n[[peer]]\nname = \"r\"",
    "c.toml:6:8: peer r has no `public_key`",
    "l2ctl pubkey"
)]
fn mistakes_in_mode_keys(#[case] lines: &str, #[case] message: &str, #[case] help: &str) {
    let error = with_keys(lines).unwrap_err();
    assert!(error.starts_with(message) && error.contains(help), "{error}");
}

#[rstest]
#[case::short("AAAA", "c.toml:7:14: this is no public key")]
#[case::zero("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "c.toml:7:14: this is no public key")]
#[case::own(OWN, "c.toml:7:14: this is the public key of this device itself")]
#[case::twice(&format!("{KEY}\"\n[[peer]]\nname = \"b\"\npublic_key = \"{KEY}"), "c.toml:10:14: peer a has the same public key")]
fn public_keys_that_cannot_be(#[case] key: &str, #[case] message: &str) {
    let lines = format!("private_key_file = \"psk\"\n[[peer]]\nname = \"a\"\npublic_key = \"{key}\"");
    let error = with_keys(&lines).unwrap_err();
    assert!(error.starts_with(message) && error.contains("l2ctl pubkey"), "{error}");
}

#[test]
fn keys_belong_to_mode_keys() {
    let error = settings("interface = \"lan0\"\npsk_file = \"psk\"\nprivate_key_file = \"psk\"").unwrap_err();
    assert!(error.starts_with("c.toml:4:20: there is a `private_key_file`"), "{error}");
    let peer =
        format!("interface = \"lan0\"\npsk_file = \"psk\"\n[[peer]]\nname = \"a\"\npublic_key = \"{KEY}\"");
    assert!(settings(&peer).unwrap_err().starts_with("c.toml:6:14: there is a `public_key`"));
}

#[rstest]
#[case::no_key("", "c.toml:2:13: this link has no `psk_file`", "add `psk_file")]
#[case::no_file(
    "psk_file = \"nokey\"",
    "c.toml:3:12: key file nokey cannot be read: No such file",
    "> nokey)`"
)]
#[case::open(
    "psk_file = \"open\"",
    "c.toml:3:12: key file open is open to other users (mode 0644)",
    "`chmod 600 open`"
)]
#[case::mode(
    "security = \"tls\"",
    "c.toml:3:12: unknown variant `tls`, expected one of `psk`, `keys`, `none`",
    ""
)]
#[case::idle_key(
    "security = \"none\"\npsk_file = \"psk\"",
    "c.toml:4:12: there is a `psk_file`",
    "remove one"
)]
#[case::seal(
    "security = \"none\"\ndata = \"sealed\"",
    "c.toml:4:8: data = \"sealed\" needs a key",
    "take security"
)]
#[case::encrypt(
    "security = \"none\"\nencrypt = true",
    "c.toml:4:11: encrypt = true needs a key",
    "take security"
)]
#[case::keys_for_others(
    "psk_file = \"psk\"\nkeylog_file = \"open\"",
    "c.toml:4:15: key log open: it has mode 0644",
    "`chmod 600 "
)]
#[case::keys_that_are_none(
    "security = \"none\"\nkeylog_file = \"keys\"",
    "c.toml:4:15: there is a `keylog_file`, but security = \"none\" has no keys",
    "remove it"
)]
#[case::length("psk_file = \"psk\"\nethertype = 0x5ff", "c.toml:4:13: 0x05ff is no EtherType", "0x88b5")]
#[case::ip(
    "psk_file = \"psk\"\nethertype = 0x0800",
    "c.toml:4:13: EtherType 0x0800 belongs to IPv4",
    "0x88b5"
)]
#[case::arp(
    "psk_file = \"psk\"\nethertype = 0x0806",
    "c.toml:4:13: EtherType 0x0806 belongs to ARP",
    "0x88b5"
)]
#[case::ip6(
    "psk_file = \"psk\"\nethertype = 0x86dd",
    "c.toml:4:13: EtherType 0x86dd belongs to IPv6",
    "0x88b5"
)]
#[case::vlan(
    "psk_file = \"psk\"\nethertype = 0x8100",
    "c.toml:4:13: EtherType 0x8100 belongs to VLAN",
    "0x88b5"
)]
#[case::large("psk_file = \"psk\"\nethertype = 0x10000", "c.toml:4:13: EtherType 0x10000 is over", "0x88b5")]
#[case::negative("psk_file = \"psk\"\nethertype = -1", "c.toml:4:13: invalid value: integer `-1`", "")]
#[case::fast("psk_file = \"psk\"\nkeepalive_ms = 9", "c.toml:4:16: keepalive_ms is 9; 10 to 10000 are", "")]
#[case::slow("psk_file = \"psk\"\nkeepalive_ms = 10001", "c.toml:4:16: keepalive_ms is 10001;", "")]
#[case::long(
    "psk_file = \"psk\"\nbusy_poll_us = 1001",
    "c.toml:4:16: busy_poll_us is 1001; 0 to 1000 are allowed",
    "0 turns"
)]
#[case::one("psk_file = \"psk\"\nmissed = 1", "c.toml:4:10: missed is 1; 2 to 20 are allowed", "")]
#[case::unknown("psk_fil = \"psk\"", "c.toml:3:1: unknown field `psk_fil`, expected one of `interface`", "")]
fn mistakes_are_shown_in_their_place(#[case] lines: &str, #[case] message: &str, #[case] help: &str) {
    let error = settings(&format!("interface = \"lan0\"\n{lines}")).unwrap_err();
    assert!(error.starts_with(message), "{error}");
    assert!(error.contains(help), "{error}");
    assert!(error.contains(" | ^") || error.contains("  ^"), "{error}");
}

#[rstest]
#[case::empty("", "cannot be empty")]
#[case::long("a-very-long-name", "at most 15 characters, this one has 16")]
#[case::slash("a/b", "cannot hold '/'")]
#[case::space("a b", "cannot hold ' '")]
#[case::dots("..", "cannot be an interface name")]
fn interface_names_follow_linux(#[case] name: &str, #[case] message: &str) {
    let error = settings(&format!("interface = \"{name}\"\npsk_file = \"psk\"")).unwrap_err();
    assert!(error.starts_with("c.toml:2:13: ") && error.contains(message), "{error}");
}

#[rstest]
#[case::plain("relay1", true)]
#[case::signs("r-1_a.b", true)]
#[case::longest(&"r".repeat(63), true)]
#[case::empty("", false)]
#[case::long(&"r".repeat(64), false)]
#[case::wildcard("*", false)]
#[case::space("relay 1", false)]
#[case::newline("relay\\n", false)]
#[case::umlaut("relä", false)]
fn device_names(#[case] name: &str, #[case] good: bool) {
    #[derive(Deserialize)]
    struct Named {
        name: Spanned<String>,
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, format!("name = \"{name}\"")).unwrap();
    let (named, source) = load::<Named>(&path).unwrap();
    assert_eq!(crate::config_file::device_name(&named.name, &source).is_ok(), good);
}

#[test]
fn the_command_socket_has_a_default_per_role() {
    let link = "[link]\ninterface = \"lan0\"\n";
    let path = |text: &str, role| {
        with_folder(&format!("{link}{text}"), |file, source| {
            file.api.check(role, source).map(|api| api.socket)
        })
    };
    assert_eq!(path("", Role::Relay).unwrap(), Path::new("/run/l2link/relay.sock"));
    assert_eq!(path("[api]\n", Role::Control).unwrap(), Path::new("/run/l2link/control.sock"));
    assert_eq!(path("[api]\nsocket = \"/x/y\"", Role::Relay).unwrap(), Path::new("/x/y"));
    assert!(path("[api]\nsocket = \"y\"", Role::Relay).unwrap().ends_with("y"));
    let long = format!("[api]\nsocket = \"/{}\"", "y".repeat(107));
    assert!(path(&long, Role::Relay).unwrap_err().contains("has 108 bytes; Linux allows 107"));
}
