//! `l2ctl` as a black box, against a daemon of one canned answer.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

/// Runs `l2ctl` with a daemon that sends `answers`, and returns the daemon's request as well.
fn l2ctl(arguments: &[&str], answers: &'static str) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
        stream.write_all(answers.as_bytes()).unwrap();
        request
    });
    (run(&socket, arguments), daemon.join().unwrap())
}

fn run(socket: &Path, arguments: &[&str]) -> Output {
    command(socket, arguments).output().unwrap()
}

fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l2ctl"));
    command.arg("--socket").arg(socket).args(arguments);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_table_is_printed() {
    let answer = "{\"ok\":true,\"data\":[{\"name\":\"relay1\",\"state\":\"up\",\"rtt_us\":85}]}\n";
    let (output, request) = l2ctl(&["show", "peers"], answer);
    let request: serde_json::Value = serde_json::from_str(&request).unwrap();
    assert_eq!(request, serde_json::json!({"verb": "show", "object": "peers"}));
    assert_eq!(text(&output.stdout), "NAME    STATE    RTT\nrelay1  up     85 µs\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn counters_that_are_zero_are_hidden_unless_asked_for() {
    let answer = "{\"ok\":true,\"data\":[{\"name\":\"a\",\"value\":0},{\"name\":\"b\",\"value\":7}]}\n";
    let (output, _) = l2ctl(&["show", "counters"], answer);
    assert_eq!(text(&output.stdout), "NAME  VALUE\nb         7\n");
    let (output, _) = l2ctl(&["show", "counters", "--all"], answer);
    assert_eq!(text(&output.stdout), "NAME  VALUE\na         0\nb         7\n");
}

#[test]
fn json_is_an_array_of_objects() {
    let (output, _) = l2ctl(&["show", "rules", "--json"], "{\"ok\":true,\"data\":[{\"port\":\"eth1\"}]}\n");
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows, serde_json::json!([{"port": "eth1"}]));
}

#[test]
fn differences_are_told_and_end_with_1() {
    let (output, request) = l2ctl(&["verify"], "{\"ok\":true,\"data\":[]}\n");
    assert_eq!(request, "{\"verb\":\"verify\"}\n");
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(0)));
    let answer =
        "{\"ok\":true,\"data\":[{\"what\":\"route 10.0.0.0/8\",\"difference\":\"it is missing\"}]}\n";
    let (output, _) = l2ctl(&["verify"], answer);
    assert_eq!(text(&output.stdout), "WHAT              DIFFERENCE\nroute 10.0.0.0/8  it is missing\n");
    assert_eq!((text(&output.stderr), output.status.code()), ("error: 1 difference\n", Some(1)));
}

#[test]
fn a_weight_is_asked_for() {
    for (word, weight) in [("0", "0"), ("65535", "65535"), ("own", "null")] {
        let (output, request) = l2ctl(&["peer", "weight", "control1", word], "{\"ok\":true,\"data\":[]}\n");
        let expected = format!(
            "{{\"name\":\"control1\",\"object\":\"weight\",\"verb\":\"peer\",\"weight\":{weight}}}\n"
        );
        assert_eq!((request, output.status.code()), (expected, Some(0)));
    }
}

#[test]
fn a_refusal_is_told_and_ends_with_1() {
    let (output, _) = l2ctl(&["show", "routes"], "{\"ok\":false,\"error\":\"no routes here\"}\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "error: no routes here\n");
}

#[test]
fn events_are_printed_until_the_daemon_ends() {
    let (output, _) = l2ctl(
        &["monitor", "--json"],
        "{\"ok\":true,\"data\":[{\"event\":\"peer-up\"}]}\n{\"ok\":true,\"data\":[{\"event\":\"peer-down\"}]}\n",
    );
    assert_eq!(text(&output.stdout), "{\"event\":\"peer-up\"}\n{\"event\":\"peer-down\"}\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("closed the connection"), "{output:?}");
}

#[test]
fn a_monitor_ends_with_its_reader_though_nothing_happens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let mut monitor = command(&path, &["monitor"]).stdout(Stdio::piped()).spawn().unwrap();
    let (mut daemon, _) = listener.accept().unwrap();
    daemon.write_all(b"{\"ok\":true,\"data\":[{\"event\":\"peer-up\"}]}\n").unwrap();
    let mut output = BufReader::new(monitor.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.contains("peer-up"), "{line}");
    drop(output);
    assert_eq!(monitor.wait().unwrap().code(), Some(0));
}

#[test]
fn nobody_at_the_socket_is_told_and_ends_with_1() {
    let output = run(Path::new("/nonexistent/sock"), &["show", "peers"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is l2relay or l2control running?"), "{output:?}");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in [&["show", "rulez"][..], &["show"], &["show", "rules", "--all"], &[]] {
        let output = run(Path::new("/nonexistent/sock"), arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[test]
fn words_that_are_no_text_are_a_wrong_command_line() {
    for arguments in [&["show"][..], &["rule", "add"], &["trace"]] {
        let mut command = command(Path::new("/nonexistent/sock"), arguments);
        let output = command.arg(OsStr::from_bytes(b"tcp/\xff")).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{output:?}");
    }
}
