//! The fixtures themselves: the lab's cables carry packets, its programs serve, and a killed test leaves nothing behind.

use netns_tests::address::*;
use netns_tests::program::{Nginx, Sshd, dnsmasq, echo, echo_server};
use netns_tests::{Download, Lab, Layout, SOON, eventually};
use std::env;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Everything on the relay's port itself, without our daemons: what fails here is not their fault.
#[test]
fn programs_serve_without_the_daemons() {
    let Some(lab) = Lab::build(Layout { far: true, ..Layout::default() }) else { return };
    lab.relay_ns.ip(&[&format!("route add default via {CLIENT_V4}")]);
    for address in [PORT_V4, PORT_V6] {
        lab.client.ok(&format!("ping -c 1 -W 2 {address}"));
    }
    lab.relay_ns.ok(&format!("ping -c 1 -W 2 {FAR_V4}"));

    let nginx = Nginx::start(&lab.relay_ns, lab.folder(), &["80", "[::]:80"]);
    eventually(SOON, "a page", || lab.client.run(&format!("curl -sf http://[{PORT_V6}]/")).into_result());
    nginx.await_access(CLIENT_V6);
    let download =
        Download::start(lab.client.command("curl").args(["-s", &format!("http://{PORT_V4}/large")]));
    download.await_begin();
    let progress = download.stop();
    assert!(progress.bytes > 0 && progress.longest_gap < SOON, "{progress:?}");

    let _dns = dnsmasq(&lab.relay_ns);
    eventually(SOON, "an answer", || {
        match lab.client.run(&format!("dig +short l2.test @{PORT_V4}")).into_result()?.trim() {
            "198.51.100.7" => Ok(()),
            other => Err(other.into()),
        }
    });
    let sshd = Sshd::start(&lab.relay_ns, lab.folder(), 2222);
    sshd.process.await_log("listening", SOON);
    assert_eq!(sshd.ssh(&lab.client, PORT_V4, 2222, "echo hello").expect_success(), "hello\n");

    for (server, client) in [("tcp 0.0.0.0 7", "tcp"), ("udp :: 7", "udp"), ("mptcp 0.0.0.0 8", "tcp")] {
        let _server = echo_server(&lab.relay_ns, server);
        let port = server.rsplit(' ').next().unwrap();
        let _ = echo(&lab.client, &format!("{client} {PORT_V4} {port} 4000")).expect_success();
    }
}

#[test]
fn a_killed_test_leaves_nothing_behind() {
    let Some(_root) = Lab::build(Layout::default()) else { return };
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env("L2LINK_VICTIM", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let prefix = format!("l2t-{}-", victim.id());
    let namespaces = || {
        let names = fs::read_dir("/run/netns")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&prefix)).collect::<Vec<_>>()
    };
    let folder = env::temp_dir().join(format!("l2t-{}", victim.id()));
    eventually(SOON, "the victim has a running server", || {
        if folder.join("0/nginx/pid").exists() { Ok(()) } else { Err("not yet".into()) }
    });
    assert_eq!(namespaces().len(), 3);

    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually(SOON, "nothing is left", || match (namespaces(), folder.exists()) {
        (names, false) if names.is_empty() => Ok(()),
        (names, folder) => Err(format!("namespaces {names:?}, folder {folder}")),
    });
}

/// Killed by [`a_killed_test_leaves_nothing_behind`]; nothing by itself.
#[test]
#[ignore = "a part of another test"]
fn victim() {
    if env::var_os("L2LINK_VICTIM").is_none() {
        return;
    }
    let Some(lab) = Lab::build(Layout::default()) else { return };
    let _nginx = Nginx::start(&lab.relay_ns, lab.folder(), &["80"]);
    std::thread::sleep(Duration::from_secs(60));
}
