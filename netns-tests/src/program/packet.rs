//! Small programs with packet sockets and raw sockets.

use crate::netns::Netns;
use crate::process::Process;
use crate::wait::SOON;

/// Starts a program that prints the frames which a packet socket gets, as `got DESTINATION TYPE b'DATA'`, and waits until it
/// listens. `arguments`: `INTERFACE PROTOCOL [join=MAC]`, the protocol as Linux numbers it.
///
/// # Panics
/// When it does not come to listen.
#[must_use]
#[track_caller]
pub fn packet_receiver(netns: &Netns, arguments: &str) -> Process {
    let process = netns.python(include_str!("packet_receiver.py"), &split(arguments));
    process.await_log("listening", SOON);
    process
}

/// Sends one frame. `arguments`: `INTERFACE DESTINATION TYPE TEXT`, the type an `EtherType` or `llc`.
///
/// # Panics
/// When it cannot be sent.
#[track_caller]
pub fn send_packet(netns: &Netns, arguments: &str) {
    let _ = netns.run_python(include_str!("packet_sender.py"), &split(arguments)).expect_success();
}

/// Starts a program that prints what a raw IP socket gets, as `got b'DATA' from ADDRESS`, and waits until it is there.
/// `arguments`: `4|6 PROTOCOL [GROUP INTERFACE]`, the group one to join.
///
/// # Panics
/// When it does not come up.
#[must_use]
#[track_caller]
pub fn raw_receiver(netns: &Netns, arguments: &str) -> Process {
    let process = netns.python(include_str!("raw_receiver.py"), &split(arguments));
    process.await_log("listening", SOON);
    process
}

/// Sends one packet from a raw IP socket. `arguments`: `DESTINATION PROTOCOL INTERFACE TEXT`.
///
/// # Panics
/// When it cannot be sent.
#[track_caller]
pub fn send_raw(netns: &Netns, arguments: &str) {
    let _ = netns.run_python(include_str!("raw_sender.py"), &split(arguments)).expect_success();
}

fn split(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}
