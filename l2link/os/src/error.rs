//! Errors of setting something up: each names the thing, says why, and says what to do.

use std::io;
use std::path::PathBuf;

/// Why something of the system could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The interface does not exist in the namespace.
    #[error("interface {interface}: there is none of this name; `ip link` lists those that exist")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// A bridge takes the interface's packets before an EtherType socket sees them.
    #[error("interface {interface} is a port of bridge {bridge}: put {bridge} in its place")]
    BridgePort {
        /// The interface.
        interface: String,
        /// The bridge.
        bridge: String,
    },
    /// The interface does not carry Ethernet frames.
    #[error("interface {interface} is not an Ethernet interface ({kind})")]
    NotEthernet {
        /// The interface.
        interface: String,
        /// What it is instead.
        kind: &'static str,
    },
    /// The interface's MTU is below the protocol's least.
    #[error(
        "interface {interface} has MTU {mtu}, at least {least} is needed: `ip link set {interface} mtu {least}`"
    )]
    MtuTooSmall {
        /// The interface.
        interface: String,
        /// Its MTU in bytes.
        mtu: u32,
        /// The least MTU in bytes.
        least: u32,
    },
    /// The number is not an EtherType but an IEEE 802.3 length.
    #[error(
        "EtherType {0:#06x} is a length, not an EtherType: use 0x0600 to 0xffff (0x88b5 is meant for experiments)"
    )]
    EtherType(u16),
    /// The process lacks a capability.
    #[error(
        "{action} needs {capability}: run as root, or give the capability \
         (`setcap {setcap} PROGRAM`, or AmbientCapabilities={capability} in the service file)",
        setcap = setcap(.capability)
    )]
    Capability {
        /// What was tried.
        action: String,
        /// The capability, as capabilities(7) writes it.
        capability: &'static str,
    },
    /// The process lacks capabilities that the daemon needs from its start.
    #[error(
        "missing capabilities {names}: run with sudo, or give the program the capabilities \
         (`setcap {set}+ep PROGRAM`, or AmbientCapabilities={ambient} in the service file)",
        names = .missing.join(", "),
        set = .missing.join(",").to_lowercase(),
        ambient = .missing.join(" ")
    )]
    Capabilities {
        /// Those that are missing, as capabilities(7) writes them.
        missing: Vec<&'static str>,
    },
    /// Another daemon answers at the command socket.
    #[error(
        "{}: another daemon listens there already; stop it, or choose another path as `socket`",
        .path.display()
    )]
    SocketInUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// The named network namespace does not exist.
    #[error("network namespace {name} does not exist: `ip netns add {name}` makes it")]
    NoNetNs {
        /// Its name.
        name: String,
    },
    /// A name in `/run/netns` at which no namespace is mounted.
    #[error("{} is not a network namespace", .path.display())]
    NotANetNs {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else's interface has a number that the fast path needs in a namespace, most likely that of another daemon's symbol.
    #[error(
        "interface {interface} there has a number of the fast path, which one l2control can have in a namespace"
    )]
    CrossingTaken {
        /// The interface.
        interface: String,
    },
    /// The kernel has no TUN/TAP device.
    #[error(
        "/dev/net/tun is missing: load the kernel module with `modprobe tun`, or pass the device to the container"
    )]
    NoTunDevice,
    /// The file cannot be a key log.
    #[error("key log {}: {problem}", .path.display())]
    KeyLog {
        /// The file.
        path: PathBuf,
        /// What is wrong, and how to mend it.
        problem: String,
    },
    /// The file cannot be a recording.
    #[error("recording {}: {problem}", .path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// What is wrong, and how to mend it.
        problem: String,
    },
    /// A network interface has the name already.
    #[error(
        "interface {interface} exists already in {netns}: choose another name, or delete it with `ip link del {interface}`"
    )]
    NameTaken {
        /// The name.
        interface: String,
        /// The namespace.
        netns: String,
    },
    /// A text that cannot be the name of an interface.
    #[error(
        "\"{0}\" cannot be an interface name: 1 to 15 bytes without space, slash, colon and percent sign are allowed"
    )]
    InterfaceName(String),
    /// The fast path that the configuration requires.
    #[error("fast_path = \"require\": {0}")]
    FastPath(fast_path::Error),
    /// The programs that are to tell of sockets.
    #[error("detection = \"bpf\": {0}")]
    SocketEvents(String),
    /// The program `nft` cannot be started.
    #[error(
        "the program nft cannot be run ({source}): install the package nftables; without it the relay's kernel would \
         reset the connections of controls"
    )]
    NoNft {
        /// Why.
        source: io::Error,
    },
    /// The kernel or `nft` refused the table.
    #[error("nftables refused the discard table: {message}")]
    Nft {
        /// What `nft` printed.
        message: String,
    },
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// What was tried, with the name of the thing.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl SetupError {
    /// An error of the kernel with what was tried.
    pub fn system(action: impl Into<String>, source: io::Error) -> Self {
        Self::System { action: action.into(), source }
    }

    /// As [`SetupError::system`], but a missing permission is told as the capability that would give it.
    pub fn capable(action: impl Into<String>, capability: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Capability { action: action.into(), capability },
            _ => Self::system(action, source),
        }
    }
}

/// The capability as setcap(8) writes it, effective, inheritable and permitted.
fn setcap(capability: &str) -> String {
    format!("{}+eip", capability.to_lowercase())
}
