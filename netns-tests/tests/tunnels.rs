//! Tunnels between a client and a program on the control. The client's kernel sends super-packets into them, and leaves checksums inside
//! them to be completed, as its network card, a veth, takes both.

use netns_tests::address::*;
use netns_tests::program::Nginx;
use netns_tests::{Lab, Layout, Netns, SOON, eventually};
use rstest::rstest;
use std::fs;
use std::io::{self, Write as _};
use std::thread;

/// Ends of the tunnel: the control's, the client's.
const INSIDE_V4: [&str; 2] = ["172.31.9.1", "172.31.9.2"];
const INSIDE_V6: [&str; 2] = ["2001:db8:9::1", "2001:db8:9::2"];
/// MTU of a port whose packets fit link frames on a segment of 1500.
const FITTING: u32 = 1400;
/// Bytes that cross.
const TRANSFER: u64 = 30_000_000;

#[rstest]
#[case::v4([PORT_V4, CLIENT_V4], "noudpcsum", INSIDE_V4[1])]
#[case::v4_with_checksums([PORT_V4, CLIENT_V4], "udpcsum", INSIDE_V4[1])]
#[case::v6_in_v4([PORT_V4, CLIENT_V4], "noudpcsum", INSIDE_V6[1])]
#[case::v6([PORT_V6, CLIENT_V6], "udp6zerocsumrx", INSIDE_V6[1])]
#[case::v4_in_v6([PORT_V6, CLIENT_V6], "udp6zerocsumrx", INSIDE_V4[1])]
#[case::v4_in_v6_without_checksums([PORT_V6, CLIENT_V6], "udp6zerocsumtx udp6zerocsumrx", INSIDE_V4[1])]
fn super_packets_inside_a_tunnel_come_through(
    #[case] outside: [&str; 2],
    #[case] options: &str,
    #[case] server: &str,
) {
    let Some(lab) = Lab::up() else { return };
    tunnel(&lab, outside, options);
    transfer(&lab, server);
    assert_eq!(lab.relay.counter("drop.tunnel-offload"), 0);
}

/// On the fast path the kernel cuts them, behind the headers of the link.
#[rstest]
#[case::v4([PORT_V4, CLIENT_V4], "noudpcsum", INSIDE_V4[1])]
#[case::v6([PORT_V6, CLIENT_V6], "udp6zerocsumrx", INSIDE_V6[1])]
fn super_packets_inside_a_tunnel_go_by_the_kernel(
    #[case] outside: [&str; 2],
    #[case] options: &str,
    #[case] server: &str,
) {
    let Some(lab) = fast() else { return };
    tunnel(&lab, outside, options);
    transfer(&lab, server);
    let packets = TRANSFER / u64::from(FITTING);
    eventually(SOON, "most packets went by the kernel", || match lab.control.counter("rx.PACKET.frames") {
        fast if fast > packets / 2 => Ok(()),
        fast => Err(format!("{fast} of {packets}")),
    });
}

/// The same where a program is the end of the tunnel, which sees what a kernel would overlook.
#[test]
fn a_program_gets_whole_packets_out_of_a_tunnel() {
    let Some(lab) = Lab::up() else { return };
    let receiver = lab.programs().python(RECEIVER, &[]);
    receiver.await_log("listening", SOON);
    lab.relay.await_rules(&["eth1 udp 0.0.0.0:4789 active"]);
    vxlan(&lab.client, "eth0", [CLIENT_V4, PORT_V4], "noudpcsum", [INSIDE_V4[1], INSIDE_V6[1]]);
    lab.client.ip(&[&format!("neigh add {} lladdr 02:00:00:00:00:01 dev vx0", INSIDE_V4[0])]);
    let connect = format!("import socket\nsocket.create_connection(('{}', 80), timeout=2)", INSIDE_V4[0]);
    let nobody = lab.client.python(&connect, &[]);
    receiver.await_log("an inner segment, its checksum", SOON);
    assert!(receiver.log().contains("its checksum right"), "{}", receiver.log());
    drop(nobody);
}

/// A lab with the fast path, with packets that fit frames of the segment; none, loudly, if the daemons have no fast path.
fn fast() -> Option<Lab> {
    let mut lab = Lab::build(Layout::default())?;
    lab.configure_link("data = \"clear\"\nfast_path = \"require\"");
    lab.relay_ns.ip(&[&format!("link set eth1 mtu {FITTING}")]);
    lab.client.ip(&[&format!("link set eth0 mtu {FITTING}")]);
    lab.relay.start();
    let is_built = eventually(SOON, "the relay has a fast path, or tells why not", || {
        let log = lab.relay.log();
        let is_built = log.contains("packets of known flows go by the kernel");
        let is_not = log.contains("this program was built without it");
        if is_built || is_not { Ok(is_built) } else { Err(log) }
    });
    if !is_built {
        let test = thread::current().name().unwrap_or("?").to_owned();
        // Past the test harness's capture: a skipped test must not go unnoticed.
        let _ = writeln!(io::stderr(), "SKIPPED {test}: the daemons have no fast path; see fast_path.rs");
        return None;
    }
    lab.control.start();
    lab.await_symbol();
    Some(lab)
}

/// A VXLAN between client and control, up on both sides; `outside` are the addresses of control and client.
fn tunnel(lab: &Lab, outside: [&str; 2], options: &str) {
    let [control, client] = outside;
    vxlan(lab.programs(), "eth1", [control, client], options, [INSIDE_V4[0], INSIDE_V6[0]]);
    vxlan(&lab.client, "eth0", [client, control], options, [INSIDE_V4[1], INSIDE_V6[1]]);
    eventually(SOON, "a ping through the tunnel", || {
        lab.client.run(&format!("ping -c 1 -W 1 {}", INSIDE_V4[0])).into_result()
    });
}

fn vxlan(netns: &Netns, device: &str, [local, remote]: [&str; 2], options: &str, inside: [&str; 2]) {
    netns.ip(&[
        &format!(
            "link add vx0 type vxlan id 7 local {local} remote {remote} dstport 4789 dev {device} {options}"
        ),
        &format!("addr add {}/24 dev vx0", inside[0]),
        &format!("addr add {}/64 dev vx0 nodad", inside[1]),
        "link set vx0 up",
    ]);
}

/// The control downloads from a server at the client.
#[track_caller]
fn transfer(lab: &Lab, server: &str) {
    let _nginx = Nginx::start(&lab.client, lab.folder(), &["80", "[::]:80"]);
    lab.client.await_listener("tcp", 80);
    // Every byte tells its place.
    let numbers: Vec<u8> = (0..TRANSFER).step_by(8).flat_map(u64::to_be_bytes).collect();
    fs::write(lab.folder().join("nginx/www/numbers"), &numbers).unwrap();
    let host = if server.contains(':') { format!("[{server}]") } else { server.to_owned() };
    let file = lab.folder().join("download");
    lab.programs().ok(&format!("curl -gsSf --max-time 60 -o {} http://{host}/numbers", file.display()));
    assert!(fs::read(file).unwrap() == numbers, "the bytes are not those that were sent");
}

/// Tells of each TCP segment inside whether its checksum is right.
const RECEIVER: &str = "
import socket, struct
def total(data):
    data += bytes(len(data) % 2)
    words = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while words >> 16:
        words = (words & 0xffff) + (words >> 16)
    return words
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 4789))
print('listening', flush=True)
while True:
    data = s.recv(70000)
    packet = data[22:]
    if data[20:22].hex() == '0800' and packet[9] == 6:
        segment = packet[20:]
        pseudo = packet[12:20] + struct.pack('!HH', 6, len(segment))
        right = total(pseudo + segment) == 0xffff
        print('an inner segment, its checksum', 'right' if right else 'wrong', flush=True)
";
