//! The machines of the suite.

use super::figures::Figures;
use super::health::Health;
use super::traffic::Traffic;
use super::wire::Wire;
use super::{Fault, Spares};
use crate::address::*;
use crate::config::{Control, Symbol};
use crate::lab::{cable, honest};
use crate::program::{Frr, Nginx, PAGE, named_server};
use crate::{Daemon, Lab, Layout, Netns, Process, eventually};
use serde_json::json;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A lab with a bad wire. Fields are dropped in this order: programs before daemons before namespaces.
#[derive(Debug)]
pub struct Chaos {
    /// The wire between the bridge, its end 0, and control1, its end 1.
    pub wire: Wire,
    /// Programs of the fault that is under way.
    pub(crate) props: Vec<Process>,
    pub(crate) near: Frr,
    _far: Frr,
    _nginx: Nginx,
    _server: Process,
    /// The daemon of the healthy pair.
    pub control2: Daemon,
    pub(crate) control2_ns: Rc<Netns>,
    pub(crate) programs2: Netns,
    pub(crate) wire_ns: Netns,
    /// Relay, control1 and clients.
    pub lab: Lab,
    /// Per cent of what is sent that may be lost where a fault spares it: a machine that has much else to do may not run a daemon for
    /// longer than after which its peers miss it.
    pub may_lose: u64,
    /// What it found out besides, for the table.
    pub(crate) remark: String,
    pub(crate) struck: Instant,
}

/// Everything is up again within this time after a fault, on a machine that has much else to do.
const CONVERGED: Duration = Duration::from_secs(45);

/// KiB of resident memory that a daemon may keep of what it was the first time to need so much.
const MEMORY_KEPT_KIB: u64 = 16 << 10;

/// And what it may keep of the second time, for which the allocator may find other places.
const MEMORY_AGAIN_KIB: u64 = 4 << 10;

/// What lies behind the client, and a host there: FRR tells of it, and the relay forwards to it.
const BEHIND: &str = "172.31.0.0/16";
pub(crate) const HOST_BEHIND: &str = "172.31.0.1";

/// An adjacency outlives every fault of ours: what is watched is whether ours loses it.
const OSPF: &str = "interface INTERFACE\n ip ospf area 0\n ip ospf network point-to-point\n \
    ip ospf hello-interval 1\n ip ospf dead-interval 60\n\
    router ospf\n ospf router-id ROUTER\n redistribute static\n";

/// A fault of 10 s and the way back take less. FRR gives up its routes with the carrier, and then transit is lost for as long as OSPF
/// takes, which is no figure of ours.
const CARRIER_KEPT: &str = "carrier_hold_ms = 20000";

/// MTU of the wire and of the bridge's ports, which as on a good switch are no limit.
const SWITCH_MTU: u32 = 9300;

impl Chaos {
    /// Builds and starts it all; none, loudly, without root. `seed` is the wire's.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn up(seed: u64) -> Option<Self> {
        let mut lab = Lab::stopped_router_of(Layout { bridge: true, ..Layout::default() }, |_, control| {
            control.more = CARRIER_KEPT.into();
        })?;
        let (wire_ns, control2_ns, programs2) =
            (lab.netns("wire"), Rc::new(lab.netns("control2")), lab.netns("programs2"));
        lab.add_to_segment(&control2_ns);
        let wire = wire_control(&lab, &wire_ns, seed);
        let symbol = Symbol {
            netns: Some(programs2.name().into()),
            more: format!("gateway = [\"{CLIENT_V4}\"]\nservices = [\"udp/7000\"]"),
            ..Symbol::new("eth1")
        };
        let config = Control { name: "control2".into(), symbols: vec![symbol], ..Control::default() };
        let folder = lab.folder().join("control2");
        let mut control2 = Daemon::new("l2control", &control2_ns, folder, &config.to_string());

        lab.start();
        lab.await_symbols();
        control2.start();
        let _ = control2.await_row("symbols", &json!({"name": "eth1", "state": "up"}));
        let server = named_server(&programs2, 7000, "control2");
        let nginx = Nginx::start(lab.programs(), lab.folder(), &["80"]);
        lab.client.ip(&[&format!("addr add {HOST_BEHIND}/32 dev lo")]);
        let config =
            |interface: &str, router: &str| OSPF.replace("INTERFACE", interface).replace("ROUTER", router);
        let near = Frr::start(lab.programs(), lab.folder(), &["ospfd"], &config("eth1", "1.1.1.1"));
        let behind = format!("ip route {BEHIND} blackhole\n{}", config("eth0", "2.2.2.2"));
        let far = Frr::start(&lab.client, lab.folder(), &["ospfd"], &behind);

        let chaos = Self {
            wire,
            near,
            _far: far,
            _nginx: nginx,
            _server: server,
            control2,
            control2_ns,
            programs2,
            wire_ns,
            lab,
            props: Vec::new(),
            may_lose: 0,
            remark: String::new(),
            struck: Instant::now(),
        };
        chaos.await_whole();
        Some(chaos)
    }

    /// Lets a fault happen under traffic, and judges what came of it.
    ///
    /// # Panics
    /// When something was lost that must not be.
    #[track_caller]
    pub fn suffer(&mut self, fault: &Fault, long: bool) -> Figures {
        self.remark.clear();
        (fault.ready)(self);
        self.await_whole();
        if fault.twice {
            let start = Health::of(self);
            (fault.strike)(self, long);
            self.await_whole();
            let _ = start.compare(self, fault, MEMORY_KEPT_KIB);
        }
        let before = Health::of(self);
        let traffic = Traffic::start(self);
        let counts = self.wire.counts();
        self.struck = Instant::now();
        (fault.strike)(self, long);
        self.wire.heal();
        let healed = Instant::now();
        self.await_whole();
        let converged = healed.elapsed();
        let after = self.wire.counts();
        let (wire_lost, wire_made) = (after.lost - counts.lost, after.made - counts.made);
        let seen = traffic.end(self, fault);
        let memory = before.compare(self, fault, if fault.twice { MEMORY_AGAIN_KIB } else { 0 });
        (fault.undo)(self);
        self.props.clear();
        Figures {
            fault: fault.name,
            detected: seen.detected,
            converged,
            wire_lost,
            wire_made,
            transit: seen.transit,
            healthy: seen.healthy,
            memory,
            remark: std::mem::take(&mut self.remark),
        }
    }

    /// Waits until everything works: the daemons' own view, verification, the neighbour, the route, and a page.
    #[track_caller]
    pub(crate) fn await_whole(&self) {
        eventually(CONVERGED, "everything works again", || {
            for daemon in [&self.lab.relay, &self.lab.control, &self.control2] {
                let peers = daemon.show("peers")?;
                let expected = if std::ptr::eq(daemon, &raw const self.lab.relay) { 2 } else { 1 };
                if peers.iter().filter(|peer| peer["state"] == "up").count() != expected {
                    return Err(format!("peers {peers:?}"));
                }
                let _ = daemon.l2ctl("verify").into_result()?;
            }
            for (daemon, names) in [(&self.lab.control, &["eth1", "eth2"][..]), (&self.control2, &["eth1"])] {
                let symbols = daemon.show("symbols")?;
                let up =
                    |name: &&str| symbols.iter().any(|row| row["name"] == **name && row["state"] == "up");
                if !names.iter().all(up) {
                    return Err(format!("symbols {symbols:?}"));
                }
            }
            let route = self.lab.relay_routes(BEHIND);
            if !route.contains("proto 108") {
                return Err(format!("the relay's route: {route:?}"));
            }
            let client = &self.lab.client;
            let page = client.run(&format!("curl -sSf --max-time 2 http://{PORT_V4}/")).into_result()?;
            if page != PAGE {
                return Err(page);
            }
            let neighbor = self.near.vtysh("show ip ospf neighbor").into_result()?;
            if neighbor.contains("Full/") { Ok(()) } else { Err(neighbor) }
        });
    }

    /// All daemons, by the names of their machines.
    pub(crate) fn daemons(&mut self) -> [(&'static str, &mut Daemon); 3] {
        [
            ("relay", &mut self.lab.relay),
            ("control1", &mut self.lab.control),
            ("control2", &mut self.control2),
        ]
    }

    /// Ends everything in order, and sees to it that nothing stays behind in the kernels.
    ///
    /// # Panics
    /// When something does.
    #[track_caller]
    pub fn down(mut self) {
        self.await_whole();
        for (_, daemon) in self.daemons() {
            daemon.terminate();
        }
        let tables = self.lab.relay_ns.ok("nft list tables");
        assert!(!tables.contains("l2relay"), "{tables}");
        assert_eq!(self.lab.relay_ns.ok("ip route show table all proto 108"), "");
        for netns in [self.lab.programs(), &self.programs2] {
            assert_eq!(netns.ok("ip -o link show type tun"), "", "a symbol stays");
            let rules = netns.ok("ip rule");
            assert!(!rules.contains("1080"), "{rules}");
        }
    }
}

impl Spares {
    pub(crate) fn transit(self) -> bool {
        matches!(self, Self::All | Self::Transit)
    }

    pub(crate) fn healthy(self) -> bool {
        matches!(self, Self::All | Self::Healthy)
    }
}

/// Puts the wire between the bridge and control1, whose cable to the bridge goes.
fn wire_control(lab: &Lab, wire_ns: &Netns, seed: u64) -> Wire {
    let segment = lab.segment().expect("a lab whose segment is a bridge");
    lab.control_ns.ip(&["link del lan0"]);
    cable(segment, "wired", wire_ns, "w0");
    cable(wire_ns, "w1", &lab.control_ns, "lan0");
    segment.ip(&["link set wired master br0"]);
    lab.control_ns.ip(&[&format!("addr add {SEGMENT_CONTROL_V4}/24 dev lan0")]);
    for (netns, interface) in
        [(segment, "wired"), (wire_ns, "w0"), (wire_ns, "w1"), (&*lab.control_ns, "lan0")]
    {
        honest(netns, interface);
    }
    // The wire's namespace says nothing by itself.
    wire_ns.sysctl("net.ipv6.conf.all.disable_ipv6=1");
    wire_ns.ip(&[&format!("link set w0 mtu {SWITCH_MTU}"), &format!("link set w1 mtu {SWITCH_MTU}")]);
    for port in segment.ip_json("link show master br0").as_array().expect("ports") {
        let name = port["ifname"].as_str().expect("a name");
        segment.ip(&[&format!("link set {name} mtu {SWITCH_MTU}")]);
    }
    let stations = [&lab.relay_ns, &lab.control_ns].map(|netns| mac(netns));
    Wire::new(wire_ns, ["w0", "w1"], stations, seed)
}

/// Ethernet address of a namespace's end of the segment.
pub(crate) fn mac(netns: &Netns) -> [u8; 6] {
    let link = netns.ip_json("link show lan0");
    let text = link[0]["address"].as_str().expect("an address");
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a byte"));
    bytes.collect::<Vec<u8>>().try_into().expect("six bytes")
}
