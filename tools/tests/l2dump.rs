//! `l2dump` as a black box: capture files of every form, made by tshark and editcap; filters; what it cannot read.

#[path = "../../frames/tests/golden/mod.rs"]
mod golden;
#[path = "../../frames/tests/tshark/mod.rs"]
mod tshark;

use rstest::rstest;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tshark::{capture, tshark};

fn l2dump(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_l2dump")).args(arguments).output().unwrap()
}

fn lines(arguments: &[&str]) -> Vec<String> {
    let output = l2dump(arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `None`, after saying so, without editcap.
fn editcap(arguments: &[&str]) -> Option<Output> {
    match Command::new("editcap").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: a test of l2dump: editcap (package wireshark-common): {error}"
            );
            None
        }
    }
}

/// All golden frames in one file.
fn golden_capture(name: &str) -> PathBuf {
    let all = golden::frames();
    let frames: Vec<&[u8]> = all.iter().map(|golden| &golden.bytes[..]).collect();
    capture(&format!("l2dump-{name}"), &frames)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[rstest]
#[case::pcapng("pcapng")]
#[case::pcap_with_nanoseconds("nsecpcap")]
#[case::pcap("pcap")]
fn files_of_every_form_are_read(#[case] form: &str) {
    let plain = golden_capture(form);
    let other = plain.with_extension("other");
    let convert = ["-r", text(&plain), "-F", form, "-w", text(&other)];
    let Some(output) = tshark(&convert) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(lines(&["-r", text(&other)]), lines(&["-r", text(&plain)]));
    assert_eq!(lines(&["-r", text(&other), "--json"]), lines(&["-r", text(&plain), "--json"]));
    // From a pipe, too.
    let mut piped = Command::new(env!("CARGO_BIN_EXE_l2dump"));
    piped.args(["-r", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut piped = piped.spawn().unwrap();
    for part in fs::read(&other).unwrap().chunks(1000) {
        piped.stdin.as_mut().unwrap().write_all(part).unwrap();
    }
    let output = piped.wait_with_output().unwrap();
    assert_eq!(output.stdout, l2dump(&["-r", text(&plain)]).stdout);
}

#[test]
fn what_is_written_is_what_was_read() {
    let plain = golden_capture("write");
    let written = plain.with_extension("written");
    assert!(lines(&["-r", text(&plain), "-w", text(&written)]).is_empty());
    assert_eq!(lines(&["-r", text(&written)]), lines(&["-r", text(&plain)]));
    let bytes = |path: &Path| {
        tshark(&["-r", text(path), "-x", "-T", "jsonraw", "-j", "frame"]).map(|output| output.stdout)
    };
    let Some(read) = bytes(&plain) else { return };
    assert_eq!(String::from_utf8(bytes(&written).unwrap()), String::from_utf8(read));
}

#[rstest]
#[case::one(&[0x81, 0x00, 0x20, 0x07], "[7]")]
#[case::two(&[0x88, 0xa8, 0x00, 0x64, 0x81, 0x00, 0x00, 0x07], "[100,7]")]
fn frames_of_a_trunk_are_read_without_their_tags(#[case] tags: &[u8], #[case] vlans: &str) {
    let plain = golden_capture("untagged");
    let all = golden::frames();
    let tagged: Vec<Vec<u8>> =
        all.iter().map(|golden| [&golden.bytes[..12], tags, &golden.bytes[12..]].concat()).collect();
    let frames: Vec<&[u8]> = tagged.iter().map(Vec::as_slice).collect();
    let path = capture(&format!("l2dump-tagged-{}", tags.len()), &frames);
    assert_eq!(lines(&["-r", text(&path)]), lines(&["-r", text(&plain)]));
    let json = lines(&["-r", text(&path), "--json"]);
    let said = format!(",\"size\":{},\"vlan\":{vlans},", tagged[0].len());
    assert!(json[0].contains(&said), "{said} {}", json[0]);
    assert!(json.iter().all(|line| line.contains("\"vlan\":")), "{json:?}");
    // What is written has them again.
    let written = path.with_extension("written");
    let _ = lines(&["-r", text(&path), "-w", text(&written)]);
    let Some(vlan) = tshark(&["-r", text(&written), "-Y", "vlan.id == 7", "-T", "fields", "-e", "vlan.id"])
    else {
        return;
    };
    assert_eq!(String::from_utf8(vlan.stdout).unwrap().lines().count(), all.len());
}

#[test]
fn a_capture_without_any_frame_of_the_link_is_told() {
    let other = capture("l2dump-others", &[&[2; 60]]);
    let output = l2dump(&["-r", text(&other)]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert_eq!(stderr(&output), "none of 1 frames is of the link: their EtherType is not 0x88b5\n");
}

#[test]
fn frames_that_the_capture_cut_are_no_damage() {
    let plain = golden_capture("cut");
    let cut = plain.with_extension("cut");
    let Some(made) = editcap(&["-s", "32", text(&plain), text(&cut)]) else { return };
    assert!(made.status.success(), "{}", stderr(&made));
    let lines = lines(&["-r", text(&cut)]);
    assert_eq!(lines.len(), golden::frames().len());
    let is_said = |line: &&String| line.ends_with(" [cut by the capture]");
    assert_eq!(lines.iter().filter(is_said).count(), lines.len(), "all are longer: {lines:?}");
    assert!(lines.iter().any(|line| line.contains(" SEGMENT [cut")), "{lines:?}");
    let marked = tshark(&["-r", text(&cut), "-Y", "l2link.cut && !(l2link.drop == \"truncated\")"]).unwrap();
    assert_eq!(String::from_utf8(marked.stdout).unwrap().lines().count(), lines.len());
}

#[test]
fn no_truncation_and_no_damage_ends_it() {
    let all = golden::frames();
    let cut =
        all.iter().flat_map(|golden| (14..golden.bytes.len()).map(|length| golden.bytes[..length].to_vec()));
    let damaged = all.iter().flat_map(|golden| {
        (14..golden.bytes.len()).flat_map(|at| {
            [0x00, 0x01, 0xff].map(|value| {
                let mut bytes = golden.bytes.clone();
                bytes[at] = value;
                bytes
            })
        })
    });
    let bytes: Vec<Vec<u8>> = cut.chain(damaged).collect();
    let frames: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let capture = capture("l2dump-damaged", &frames);
    assert_eq!(lines(&["-r", text(&capture)]).len(), frames.len());
    let objects = lines(&["-r", text(&capture), "--json"]);
    assert!(objects.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    for reason in
        ["truncated", "version", "unknown-kind", "malformed", "bad-message", "bad-offload", "bad-piece"]
    {
        let found = objects.iter().any(|line| line.contains(&format!("\"drop\":\"{reason}\"")));
        assert!(found, "{reason}");
    }
}

#[test]
fn filters_let_pass_what_they_name() {
    let capture = golden_capture("filters");
    let count = |more: &[&str]| lines(&[&["-r", text(&capture)], more].concat()).len();
    let all = count(&[]);
    let of_name =
        golden::frames().iter().filter(|golden| golden.name.starts_with("message-rule-add")).count();
    assert_eq!(count(&["--message", "RULE_ADD"]), of_name);
    assert_eq!(count(&["--message", "rule_add", "--message", "NOTICE"]), of_name + 1);
    assert_eq!(count(&["--message", "RULE_ADD", "--kind", "ACK"]), 0);
    assert_eq!(count(&["--kind", "HELLO"]), 3);
    assert_eq!(count(&["--peer", "02:00:00:00:00:0a"]), all);
    assert_eq!(count(&["--peer", "02:00:00:00:00:0c"]), 0);
    // Only what follows its hello.
    let by_name = count(&["--peer", "control1"]);
    assert!(by_name > 10 && by_name < all, "{by_name} of {all}");
    assert_eq!(count(&["--count", "3"]), 3);
    assert_eq!(count(&["--ethertype", "0x88b6"]), 0);
    let times = lines(&["-r", text(&capture), "--time", "--count", "2"]);
    assert!(times[0].starts_with("0.000000 ") && times[1].starts_with("0.001000 "), "{times:?}");
}

#[rstest]
#[case::empty(&[], "it is empty")]
#[case::something_else(b"Once upon a time there was a file of text", "neither pcap nor pcapng")]
#[case::another_link_type(&header(101), "is not Ethernet")]
#[case::cut_short(&[&header(1)[..], &[0, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0, 1, 2, 3]].concat(), "cut short")]
fn what_cannot_be_read_is_told_and_ends_with_1(#[case] bytes: &[u8], #[case] expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, bytes).unwrap();
    let output = l2dump(&["-r", text(&path)]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    assert!(stderr(&output).starts_with(&format!("error: {}: ", path.display())), "{}", stderr(&output));
}

#[test]
fn what_stands_before_the_cut_is_shown() {
    let whole = golden_capture("cut-short");
    let cut = whole.with_extension("part");
    let bytes = fs::read(&whole).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let output = l2dump(&["-r", text(&cut)]);
    assert_eq!(output.status.code(), Some(1));
    let (shown, all) = (String::from_utf8(output.stdout).unwrap(), lines(&["-r", text(&whole)]));
    let shown: Vec<&str> = shown.lines().collect();
    assert!(shown.len() > 10 && shown.len() < all.len(), "{} of {}", shown.len(), all.len());
    assert_eq!(shown, all[..shown.len()]);
}

#[rstest]
#[case::pcap("pcap")]
#[case::pcapng("pcapng")]
fn a_capture_of_any_interface_is_refused_with_a_hint(#[case] form: &str) {
    let plain = golden_capture(&format!("any-{form}"));
    let any = plain.with_extension("any");
    let line = ["-F", form, "-T", "linux-sll", text(&plain), text(&any)];
    let Some(made) = editcap(&line) else { return };
    assert!(made.status.success(), "{}", stderr(&made));
    let output = l2dump(&["-r", text(&any)]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("not Ethernet: capture on the interface"), "{}", stderr(&output));
}

#[test]
fn what_is_read_is_not_written_over() {
    let capture = golden_capture("same");
    let link = capture.with_extension("link");
    let _ = fs::remove_file(&link);
    fs::hard_link(&capture, &link).unwrap();
    let keys = capture.with_extension("keys");
    fs::write(&keys, "# none\n").unwrap();
    let before = [fs::read(&capture).unwrap(), fs::read(&keys).unwrap()];
    for output in [&capture, &link, &keys] {
        let output = l2dump(&["-r", text(&capture), "-k", text(&keys), "-w", text(output)]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("it is being read"), "{}", stderr(&output));
    }
    assert_eq!([fs::read(&capture).unwrap(), fs::read(&keys).unwrap()], before);
}

#[rstest]
#[case::a_key_file_of_the_segment(b"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", 1)]
#[case::no_text(&[0xff, 0xfe, b'\n', 0], 1)]
#[case::a_line_cut_short(b"# a remark\n\nL2LINK_AES_128_GCM 0000000000000005 00000007", 3)]
fn what_is_no_key_log_is_told_with_its_line(#[case] bytes: &[u8], #[case] line: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, bytes).unwrap();
    let output = l2dump(&["-r", text(&golden_capture(&format!("keys-{}", bytes.len()))), "-k", text(&path)]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let expected = format!("error: {}:{line}: not \"L2LINK_AES_128_GCM ", path.display());
    assert!(stderr(&output).starts_with(&expected), "{}", stderr(&output));
}

/// Of a pcap 2.4.
fn header(link_type: u32) -> Vec<u8> {
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x0004_0000, link_type];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn a_file_that_is_not_there_ends_with_1_and_a_wrong_command_line_with_2() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    for arguments in [
        &["-r", "/nonexistent/file"][..],
        &["-r", "/dev/null", "--keylog", "/nonexistent/keys"],
        &["-r", text(&golden_capture("nowhere")), "-w", "/nonexistent/file"],
        &["-r", folder],
    ] {
        let output = l2dump(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let error = stderr(&output);
        assert!(error.contains("/nonexistent/") || error.contains(": is a directory"), "{error}");
    }
    for arguments in
        [&[][..], &["-r", "a", "-i", "b"], &["-r", "a", "--message", "RULES"], &["-r", "a", "-c", "0"]]
    {
        assert_eq!(l2dump(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
