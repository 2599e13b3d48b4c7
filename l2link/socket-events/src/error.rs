//! [`Error`]: why nothing is told.

use std::io;

/// Why the kernel does not tell of sockets, or not of those in a namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program was built without it.
    #[error("this program was built without BPF: build it with `--features ebpf`")]
    NotBuilt,
    /// There is no cgroup that holds every program.
    #[error(
        "no cgroup file system of version 2 is mounted, nor can be ({0}): `mount -t cgroup2 none /sys/fs/cgroup`"
    )]
    NoCgroup(io::Error),
    /// The root of the cgroups is not that of the machine.
    #[error(
        "this is a container with cgroups of its own, whose root does not hold the programs outside of it"
    )]
    OwnCgroups,
    /// The file system of cgroups cannot be used.
    #[error("looking for the root of the cgroups: {0}")]
    Cgroup(io::Error),
    /// The kernel refuses the programs.
    #[error(
        "the kernel does not take the programs: {source}; it needs Linux 5.14 with CONFIG_CGROUP_BPF and CONFIG_DEBUG_INFO_BTF, and \
         CAP_BPF and CAP_PERFMON with CAP_NET_ADMIN, which /usr/share/doc/l2link/examples/fast-path.conf gives to a service"
    )]
    Load {
        /// What it says.
        source: io::Error,
    },
    /// The kernel refuses a program at its hook.
    #[error("the kernel does not take the program `{program}` at its hook: {source}")]
    Attach {
        /// The program.
        program: String,
        /// What it says.
        source: io::Error,
    },
    /// A table of the kernel cannot be used.
    #[error("the table `{table}` of the programs: {source}")]
    Table {
        /// The table.
        table: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// More namespaces than there is room for.
    #[error("{0} namespaces are watched already, which is all that can be")]
    Full(usize),
}
