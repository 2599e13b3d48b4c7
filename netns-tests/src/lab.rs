//! A relay, a control and what is around them.

use crate::address::*;
use crate::binary::binary;
use crate::config::{Control, Relay, with_addresses};
use crate::daemon::Daemon;
use crate::netns::Netns;
use crate::path;
use crate::sweep;
use frames::discovery::Role;
use serde_json::json;
use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The key that the daemons of a lab share.
pub const PSK: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";

/// What a lab consists of besides client, relay and control.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layout {
    /// A host behind the client, which then is a router.
    pub far: bool,
    /// A second port `eth2` with a client of its own.
    pub second_port: bool,
    /// The symbol lies in a namespace `router` of its own instead of the control's.
    pub router: bool,
    /// The segment is a bridge, to which [`Lab::add_to_segment`] connects more devices, instead of a cable.
    pub bridge: bool,
}

/// Namespaces and daemons of one test. Fields are dropped in this order: daemons before namespaces.
#[derive(Debug)]
pub struct Lab {
    /// The relay's daemon.
    pub relay: Daemon,
    /// The control's daemon.
    pub control: Daemon,
    /// The client at the port.
    pub client: Netns,
    /// The client at the second port.
    pub client2: Option<Netns>,
    /// The host behind the client.
    pub far: Option<Netns>,
    /// The relay's namespace.
    pub relay_ns: Rc<Netns>,
    /// The control's namespace.
    pub control_ns: Rc<Netns>,
    router: Option<Netns>,
    segment: Option<Netns>,
    folder: PathBuf,
    serial: usize,
}

impl Lab {
    /// A lab of the usual layout whose symbol is up; none, loudly, without root.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn up() -> Option<Self> {
        let mut lab = Self::build(Layout::default())?;
        lab.start();
        Some(lab)
    }

    /// A lab whose control has the address symbol `vip4`, 192.0.2.10, in a namespace of its own and no other; none, loudly, without
    /// root.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn up_with_address() -> Option<Self> {
        let mut lab = Self::build(Layout { router: true, ..Layout::default() })?;
        lab.relay_ns.ip(&["addr add 192.0.2.10/24 dev eth1"]);
        let symbol = ("vip4", "192.0.2.10", "local = \"10.99.0.2\"\ndefault_route = true");
        let netns = lab.programs().name().to_owned();
        lab.control.configure(&with_addresses(&Control::without_symbols(), &netns, &[symbol]));
        lab.relay.start();
        lab.control.start();
        lab.control.await_row("symbols", &json!({"name": "vip4", "state": "up"}));
        Some(lab)
    }

    /// A lab whose control has the address symbols `vip4` and `vip6`, [`VIRTUAL_V4`] and [`VIRTUAL_V6`], in a namespace of their
    /// own and no other; none, loudly, without root.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn up_with_addresses(layout: Layout) -> Option<Self> {
        let mut lab = Self::build(Layout { router: true, ..layout })?;
        lab.relay_ns.ip(&[
            &format!("addr add {VIRTUAL_V4}/24 dev eth1"),
            &format!("addr add {VIRTUAL_V6}/64 dev eth1 nodad"),
        ]);
        let more = "default_route = true";
        let symbols =
            [("vip4", VIRTUAL_V4, "local = \"10.99.0.2\"\ndefault_route = true"), ("vip6", VIRTUAL_V6, more)];
        let netns = lab.programs().name().to_owned();
        lab.control.configure(&with_addresses(&Control::without_symbols(), &netns, &symbols));
        lab.relay.start();
        lab.control.start();
        for (name, ..) in symbols {
            lab.control.await_row("symbols", &json!({"name": name, "kind": "address", "state": "up"}));
        }
        Some(lab)
    }

    /// Namespaces, cables and configured daemons, none of them started; none, loudly, without root.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    pub fn build(layout: Layout) -> Option<Self> {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        if !nix::unistd::geteuid().is_root() {
            let test = thread::current().name().unwrap_or("?").to_owned();
            // Past the test harness's capture: a skipped test must not go unnoticed.
            let _ =
                writeln!(io::stderr(), "SKIPPED {test}: network namespaces need root; run `sudo tools/test`");
            return None;
        }
        for program in ["l2relay", "l2control", "l2ctl"] {
            let _ = binary(program);
        }
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let folder = sweep::begin().expect("a folder for tests").join(serial.to_string());
        fs::create_dir_all(&folder).expect("make the lab's folder");
        let netns = |role: &str| Netns::new(sweep::netns_name(serial, role), &folder);

        let (relay_ns, control_ns) = (Rc::new(netns("relay")), Rc::new(netns("control")));
        let router = layout.router.then(|| netns("router"));
        let mut control = Control::default();
        control.symbols[0].netns = router.as_ref().map(|netns| netns.name().to_owned());
        let lab = Self {
            relay: Daemon::new("l2relay", &relay_ns, folder.join("relay"), &Relay::default().to_string()),
            control: Daemon::new("l2control", &control_ns, folder.join("control"), &control.to_string()),
            client: netns("client"),
            client2: layout.second_port.then(|| netns("client2")),
            far: layout.far.then(|| netns("far")),
            router,
            segment: layout.bridge.then(|| netns("segment")),
            relay_ns,
            control_ns,
            folder,
            serial,
        };
        lab.connect();
        Some(lab)
    }

    /// Gives both daemons these lines of `[link]`, and else what they have by default.
    pub fn configure_link(&self, link: &str) {
        self.relay.configure(&Relay { link: link.into(), ..Relay::default() }.to_string());
        self.control.configure(&Control { link: link.into(), ..Control::default() }.to_string());
    }

    /// Starts both daemons and waits for the symbol.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start(&mut self) {
        self.relay.start();
        self.control.start();
        self.await_symbol();
    }

    /// Waits for the symbol, as both see it: one that has just been started knows nothing old.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn await_symbol(&self) {
        self.relay.await_row("symbols", &json!({"port": "eth1", "state": "up"}));
        self.control.await_row("symbols", &json!({"name": "eth1", "state": "up"}));
    }

    /// The namespace in which the symbol lies and programs run.
    #[must_use]
    pub fn programs(&self) -> &Netns {
        self.router.as_ref().unwrap_or(&self.control_ns)
    }

    /// A folder for this lab's files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One more namespace of this lab.
    #[must_use]
    pub fn netns(&self, role: &str) -> Netns {
        Netns::new(sweep::netns_name(self.serial, role), &self.folder)
    }

    /// The namespace of the segment's bridge.
    pub(crate) fn segment(&self) -> Option<&Netns> {
        self.segment.as_ref()
    }

    /// The daemon of a role.
    pub fn daemon(&mut self, role: Role) -> &mut Daemon {
        match role {
            Role::Relay => &mut self.relay,
            Role::Control => &mut self.control,
        }
    }

    /// Connects a namespace to the segment by an interface `lan0`.
    ///
    /// # Panics
    /// When the segment is not a bridge.
    pub fn add_to_segment(&self, netns: &Netns) {
        self.plug_in(netns, "");
    }

    /// Joins a machine to the segment that may send with other machines' addresses. The bridge does not learn from it, as a switch
    /// with port security: from one that does, it takes all that is for those machines.
    ///
    /// # Panics
    /// If the segment is no bridge.
    pub fn add_forger_to_segment(&self, netns: &Netns) {
        self.plug_in(netns, "type bridge_slave learning off");
    }

    fn plug_in(&self, netns: &Netns, port_options: &str) {
        let segment = self.segment.as_ref().expect("a lab whose segment is a bridge");
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let port = format!("s{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        cable(segment, &port, netns, "lan0");
        segment.ip(&[&format!("link set {port} master br0")]);
        if !port_options.is_empty() {
            segment.ip(&[&format!("link set {port} {port_options}")]);
        }
        honest(segment, &port);
        honest(netns, "lan0");
    }

    fn connect(&self) {
        if let Some(segment) = &self.segment {
            segment.ip(&["link add br0 type bridge", "link set br0 up"]);
            self.add_to_segment(&self.relay_ns);
            self.add_to_segment(&self.control_ns);
        } else {
            cable(&self.relay_ns, "lan0", &self.control_ns, "lan0");
            honest(&self.relay_ns, "lan0");
            honest(&self.control_ns, "lan0");
        }
        self.relay_ns.ip(&[&format!("addr add {SEGMENT_RELAY_V4}/24 dev lan0")]);
        self.control_ns.ip(&[&format!("addr add {SEGMENT_CONTROL_V4}/24 dev lan0")]);

        cable(&self.relay_ns, "eth1", &self.client, "eth0");
        number(&self.relay_ns, "eth1", PORT_V4, PORT_V6);
        number(&self.client, "eth0", CLIENT_V4, CLIENT_V6);
        if let Some(client2) = &self.client2 {
            cable(&self.relay_ns, "eth2", client2, "eth0");
            number(&self.relay_ns, "eth2", PORT2_V4, PORT2_V6);
            number(client2, "eth0", CLIENT2_V4, CLIENT2_V6);
        }
        if let Some(far) = &self.far {
            cable(&self.client, "eth1", far, "eth0");
            number(&self.client, "eth1", "198.51.100.1", "2001:db8:2::1");
            number(far, "eth0", FAR_V4, FAR_V6);
            far.ip(&["route add default via 198.51.100.1", "route add default via 2001:db8:2::1"]);
            self.client.sysctl("net.ipv4.ip_forward=1");
            self.client.sysctl("net.ipv6.conf.all.forwarding=1");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        report(&format!("{}\n{}", self.relay.report(), self.control.report()));
        if env::var_os("L2LINK_PAUSE").is_some() {
            self.pause();
        }
    }
}

impl Lab {
    fn pause(&self) {
        let _ = writeln!(
            io::stderr(),
            "\nPaused before cleaning up. The namespaces: ip netns exec l2t-{}-{}-{{client,relay,control}} bash\n\
             The files: {}\nPress Enter to go on.",
            std::process::id(),
            self.serial,
            self.folder.display()
        );
        // Without a terminal there is nobody to wait for.
        if let Ok(mut terminal) = File::open("/dev/tty") {
            let _ = terminal.read(&mut [0]);
        }
    }
}

#[expect(clippy::print_stderr, reason = "the test harness captures it and shows it with the failure")]
pub(crate) fn report(text: &str) {
    eprintln!("{text}");
}

/// A cable between two namespaces.
pub(crate) fn cable(a: &Netns, a_name: &str, b: &Netns, b_name: &str) {
    a.ip(&[
        &format!("link add {a_name} type veth peer name {b_name} netns {}", b.name()),
        &format!("link set {a_name} up"),
    ]);
    b.ip(&[&format!("link set {b_name} up")]);
}

/// Addresses of an interface.
pub(crate) fn number(netns: &Netns, interface: &str, v4: &str, v6: &str) {
    netns.ip(&[
        &format!("addr add {v4}/24 dev {interface}"),
        &format!("addr add {v6}/64 dev {interface} nodad"),
    ]);
}

/// Makes a cable's end behave as a network card would: every frame has its final size and checksum. On the fast path it joins
/// packets that come, as it is to there.
pub(crate) fn honest(netns: &Netns, interface: &str) {
    let gro = if path::has_fast_path() { "on" } else { "off" };
    netns.ok(&format!("ethtool -K {interface} tx off rx off tso off gso off gro {gro}"));
}
