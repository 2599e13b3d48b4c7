//! [`Error`]: why there is no fast path.

use std::io;

/// Why there is no fast path, or none at an interface.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program was built without it.
    #[error("this program was built without it: build it with `--features ebpf`")]
    NotBuilt,
    /// Data is sealed, which is not the kernel's to do.
    #[error("data crosses the link sealed; `data = \"clear\"` in [link] leaves it in clear")]
    Sealed,
    /// The link interface does what is the kernel's to do.
    #[error(
        "the link interface completes checksums or cuts packets itself, which for frames of the link is not to be relied on: `ethtool -K {0} tx off tso off`; \
         where its driver refuses that there is no fast path"
    )]
    Offloads(String),
    /// Frames do not reach the link interface as they came from a cable.
    #[error("the link interface {0} is of kind {1}, and there only is a fast path at network cards and veth")]
    Kind(String, String),
    /// Another program for packets as they come from a cable is at the link interface, and the kernel takes one only.
    #[error(
        "another XDP program (number {id}) is at the link interface {interface}: `ip link set dev {interface} {mode} off` takes off what `ip` put \
         there, else it goes with the program whose it is; `bpftool net` and `bpftool prog show id {id}` tell which"
    )]
    Taken {
        /// The interface.
        interface: String,
        /// The kernel's number of the other program.
        id: u32,
        /// How it is there, in the words of `ip-link`(8).
        mode: &'static str,
    },
    /// What the link interface does cannot be known.
    #[error("asking what the link interface does of packets: {0}")]
    Asking(io::Error),
    /// The kernel refuses the programs.
    #[error(
        "the kernel does not take its programs: {source}; it needs Linux 6.6 with CONFIG_BPF_SYSCALL, and CAP_BPF and CAP_PERFMON with CAP_NET_ADMIN, which \
         /usr/share/doc/l2link/examples/fast-path.conf gives to a service"
    )]
    Load {
        /// What it says.
        source: io::Error,
    },
    /// The kernel refuses a program at an interface.
    #[error("the kernel does not take the program {program} at interface {interface}: {source}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The interface.
        interface: String,
        /// What it says.
        source: io::Error,
    },
    /// A table of the kernel cannot be changed.
    #[error("changing its table {map}: {source}")]
    Map {
        /// The table.
        map: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}
