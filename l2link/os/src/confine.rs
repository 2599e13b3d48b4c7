//! [`Confinement`]: what a daemon gives up once it has started, so that whoever takes it over has little in hand.
//!
//! Four things, each of which holds for all threads and programs that it starts later:
//!
//! - capabilities (capabilities(7)): those that it does not need, also as root;
//! - `no_new_privs`: no program that it starts is more than it is itself;
//! - system calls (seccomp(2)): those that it has no use for fail with `EPERM`, or in tests end the process;
//! - files (Landlock): it writes below a few folders only, if it has named them.
//!
//! And it leaves no core dump, in which its keys would be. What a kernel does not have is left out, and logged.

use crate::SetupError;
use crate::privileges::Capability;
use caps::CapSet;
use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    path_beneath_rules,
};
use log::{debug, info};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stays.
#[derive(Debug, Clone)]
pub struct Confinement {
    capabilities: Vec<Capability>,
    more_calls: &'static [i64],
    bpf: bool,
    folders: Option<Vec<PathBuf>>,
}

/// An environment variable. `kill` ends the process at the first system call that is not foreseen, for tests; `off` restricts
/// none, for measurements.
const SECCOMP: &str = "L2LINK_SECCOMP";

impl Confinement {
    /// These capabilities stay, if the process has them.
    #[must_use]
    pub fn new(capabilities: &[Capability]) -> Self {
        Self { capabilities: capabilities.to_vec(), more_calls: &[], bpf: false, folders: None }
    }

    /// It reads or changes this file later, which it then can even if the file belongs to somebody else.
    #[must_use]
    pub fn using(mut self, file: &Path) -> Self {
        // SAFETY: geteuid has no precondition.
        let own = unsafe { libc::geteuid() };
        let is_others = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.uid() != own);
        if is_others(file) || is_others(&folder_of(file)) {
            self.capabilities.push(Capability::DacOverride);
        }
        self
    }

    /// It also mounts file systems and goes into network namespaces.
    #[must_use]
    pub fn with_namespaces(self) -> Self {
        Self { more_calls: NAMESPACES, ..self }
    }

    /// It changes tables of programs in the kernel that were loaded before, and attaches these.
    #[must_use]
    pub fn with_bpf(self, bpf: bool) -> Self {
        Self { bpf, ..self }
    }

    /// It writes below these folders, and these files, only. Those that are not there are left out. Such a process can
    /// mount nothing.
    #[must_use]
    pub fn writing_below(self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { folders: Some(folders.into_iter().collect()), ..self }
    }

    /// Gives up everything else, for good. To be called by the only thread.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn begin(&self) -> Result<(), SetupError> {
        self.drop_capabilities().map_err(failed("give up capabilities"))?;
        let refused = |errno: nix::Error| io::Error::from(errno);
        prctl::set_no_new_privs().map_err(refused).map_err(failed("set no_new_privs"))?;
        // What changes a process's capabilities may have it write core dumps again (kernel/cred.c, commit_creds).
        forbid_core_dumps()?;
        if let Some(folders) = &self.folders {
            restrict_writes(folders).map_err(failed("restrict what files it writes"))?;
        }
        self.restrict_calls().map_err(failed("restrict system calls"))
    }

    fn drop_capabilities(&self) -> io::Result<()> {
        let kept: HashSet<caps::Capability> =
            self.capabilities.iter().map(|capability| number(*capability)).collect();
        // Without it the bounding set, which only matters for programs that it starts, cannot be changed.
        if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).map_err(io::Error::other)? {
            let surplus: Vec<_> = caps::all().difference(&kept).copied().collect();
            for capability in surplus {
                if caps::has_cap(None, CapSet::Bounding, capability).is_ok_and(|held| held) {
                    caps::drop(None, CapSet::Bounding, capability).map_err(io::Error::other)?;
                }
            }
        }
        // The wider sets last: ambient ones are permitted and inheritable, effective ones permitted.
        for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
            let held = caps::read(None, set).map_err(io::Error::other)?;
            let stays: HashSet<_> = held.intersection(&kept).copied().collect();
            if stays.len() < held.len() {
                caps::set(None, set, &stays).map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    fn restrict_calls(&self) -> io::Result<()> {
        let word = std::env::var(SECCOMP).unwrap_or_default();
        if word == "off" {
            info!(target: "os::confine", "system calls are not restricted: {SECCOMP}=off");
            return Ok(());
        }
        let Ok(arch) = std::env::consts::ARCH.try_into() else {
            info!(target: "os::confine", "system calls are not restricted on this kind of machine");
            return Ok(());
        };
        let other = if word == "kill" {
            SeccompAction::KillProcess
        } else {
            SeccompAction::Errno(libc::EPERM as u32)
        };
        let calls = CALLS.iter().chain(self.more_calls).map(|call| (*call, Vec::new()));
        let mut calls: BTreeMap<_, _> = calls.collect();
        if self.bpf {
            let command =
                |command| SeccompRule::new(vec![SeccompCondition::new(0, Dword, SeccompCmpOp::Eq, command)?]);
            let commands: Result<_, _> = BPF_COMMANDS.iter().map(|number| command(*number)).collect();
            calls.insert(libc::SYS_bpf, commands.map_err(io::Error::other)?);
        }
        let filter = SeccompFilter::new(calls, other, SeccompAction::Allow, arch);
        let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(io::Error::other)?;
        match seccompiler::apply_filter(&program) {
            Err(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error))
                if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
            {
                info!(target: "os::confine", "the kernel cannot restrict system calls (CONFIG_SECCOMP_FILTER)");
                Ok(())
            }
            applied => applied.map_err(io::Error::other),
        }
    }
}

/// Has this process leave no memory to anybody: neither a core dump when it is killed, whatever writes it, nor a look into it by
/// another process of the same user. To be called before any secret is read.
///
/// Not dumpable, it is also root's below `/proc`, whoever runs it (proc(5)). It can still be killed, and by what.
///
/// # Errors
/// If the kernel refuses.
pub fn forbid_core_dumps() -> Result<(), SetupError> {
    let forbid = || {
        // A program to which cores are piped is not asked for the limit: not to be dumpable is what counts.
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        prctl::set_dumpable(false)
    };
    forbid().map_err(io::Error::from).map_err(failed("forbid core dumps"))
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> SetupError {
    move |error| SetupError::system(action, error)
}

fn number(capability: Capability) -> caps::Capability {
    match capability {
        Capability::DacOverride => caps::Capability::CAP_DAC_OVERRIDE,
        Capability::NetAdmin => caps::Capability::CAP_NET_ADMIN,
        Capability::NetRaw => caps::Capability::CAP_NET_RAW,
        Capability::SysAdmin => caps::Capability::CAP_SYS_ADMIN,
    }
}

/// The newest that is used; of an older kernel, what it has.
const LANDLOCK: ABI = ABI::V3;

fn restrict_writes(folders: &[PathBuf]) -> io::Result<()> {
    let writes = AccessFs::from_write(LANDLOCK);
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writes)
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let restricted = ruleset.add_rules(path_beneath_rules(folders, writes)).map_err(io::Error::other)?;
    let status = restricted.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        info!(target: "os::confine", "the kernel cannot restrict what files are written (CONFIG_SECURITY_LANDLOCK)");
    } else {
        debug!(target: "os::confine", "writes below {} only", list(folders));
    }
    Ok(())
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The folder of a file, of a link that where it leads.
#[must_use]
pub fn folder_of(file: &Path) -> PathBuf {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// A call costs some 30 ns more by it: the kernel remembers which are always allowed (kernel/seccomp.c, action cache).
///
/// What both daemons, the keeper, the Rust and C libraries and the nft(8) that they start call. Not here are, among others: ptrace and the
/// memory of other processes, kernel modules, programs for the kernel, perf events, kexec, keys, clocks, swap, accounting, io_uring, userfaultfd.
#[rustfmt::skip]
const CALLS: &[i64] = &[
    // Descriptors.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_lseek, libc::SYS_close, libc::SYS_close_range, libc::SYS_fcntl, libc::SYS_ioctl, libc::SYS_dup, libc::SYS_dup3,
    libc::SYS_pipe2, libc::SYS_eventfd2, libc::SYS_signalfd4, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Files.
    libc::SYS_openat, libc::SYS_openat2, libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_statx, libc::SYS_statfs,
    libc::SYS_fstatfs, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_faccessat, libc::SYS_faccessat2,
    libc::SYS_readlinkat, libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_mkdirat, libc::SYS_linkat,
    libc::SYS_symlinkat, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_ftruncate,
    libc::SYS_fallocate, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_flock, libc::SYS_utimensat, libc::SYS_umask,
    libc::SYS_memfd_create, libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_fadvise64, libc::SYS_fchdir,
    // Sockets.
    libc::SYS_socket, libc::SYS_socketpair, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4,
    libc::SYS_connect, libc::SYS_shutdown, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt,
    libc::SYS_setsockopt, libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg, libc::SYS_recvfrom, libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    // Memory.
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise,
    libc::SYS_membarrier,
    // Threads, processes, signals.
    libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq, libc::SYS_set_tid_address,
    libc::SYS_clone, libc::SYS_clone3, libc::SYS_execve, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4,
    libc::SYS_waitid, libc::SYS_kill, libc::SYS_tgkill, libc::SYS_tkill, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack, libc::SYS_restart_syscall, libc::SYS_setsid, libc::SYS_setpgid, libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity, libc::SYS_sched_getparam, libc::SYS_sched_getscheduler, libc::SYS_prctl,
    libc::SYS_prlimit64, libc::SYS_getrusage, libc::SYS_capget,
    // Who, when, and chance.
    libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getpgid, libc::SYS_getsid, libc::SYS_getuid,
    libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getgroups, libc::SYS_uname, libc::SYS_sysinfo,
    libc::SYS_getrandom, libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    // Older forms, where the machine has them.
    #[cfg(target_arch = "x86_64")] libc::SYS_open,
    #[cfg(target_arch = "x86_64")] libc::SYS_stat,
    #[cfg(target_arch = "x86_64")] libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")] libc::SYS_access,
    #[cfg(target_arch = "x86_64")] libc::SYS_poll,
    #[cfg(target_arch = "x86_64")] libc::SYS_select,
    #[cfg(target_arch = "x86_64")] libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")] libc::SYS_epoll_create,
    #[cfg(target_arch = "x86_64")] libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")] libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")] libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")] libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")] libc::SYS_rename,
    #[cfg(target_arch = "x86_64")] libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")] libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")] libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")] libc::SYS_chown,
    #[cfg(target_arch = "x86_64")] libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")] libc::SYS_link,
    #[cfg(target_arch = "x86_64")] libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")] libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")] libc::SYS_fork,
    #[cfg(target_arch = "x86_64")] libc::SYS_getpgrp,
    #[cfg(target_arch = "x86_64")] libc::SYS_time,
    #[cfg(target_arch = "x86_64")] libc::SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")] libc::SYS_getdents,
];

/// What looking into network namespaces and mounting takes.
const NAMESPACES: &[i64] = &[libc::SYS_setns, libc::SYS_unshare, libc::SYS_mount, libc::SYS_umount2];

/// Of bpf(2) what works on what there is already (`linux/bpf.h`): look up, update, delete, next key, look up and delete, attach.
const BPF_COMMANDS: &[u64] = &[1, 2, 3, 4, 21, 28];

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::getrlimit;

    #[test]
    fn no_call_is_listed_twice() {
        let all: Vec<i64> = CALLS.iter().chain(NAMESPACES).copied().collect();
        let different: HashSet<i64> = all.iter().copied().collect();
        assert_eq!(all.len(), different.len());
    }

    /// All of it is of the thread that begins it.
    #[test]
    fn what_is_given_up_is_gone() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (inside, outside) = (inside.path().to_owned(), outside.path().to_owned());
        let confined = std::thread::spawn(move || {
            Confinement::new(&[Capability::NetRaw]).writing_below([inside.clone()]).begin().unwrap();
            fs::write(inside.join("file"), "text").unwrap();
            let refused = fs::write(outside.join("file"), "text").map_err(|error| error.kind());
            // SAFETY: it is refused.
            let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            let errno = io::Error::last_os_error().raw_os_error();
            let dumped = getrlimit(Resource::RLIMIT_CORE).unwrap();
            assert_eq!((prctl::get_dumpable(), dumped), (Ok(false), (0, 0)));
            (refused, traced, errno, fs::read_to_string("/proc/thread-self/status").unwrap())
        });
        let (refused, traced, errno, status) = confined.join().unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!(field("NoNewPrivs:"), "1");
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(field(set), 16).unwrap() & !(1 << 13), 0, "{set}");
        }
        // Kernels without these go on without.
        if field("Seccomp:") == "2" {
            assert_eq!((traced, errno), (-1, Some(libc::EPERM)));
        }
        let (none, version) = (core::ptr::null::<u8>(), 1);
        // SAFETY: this asks for the version (landlock_create_ruleset(2)).
        if unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, version) } > 0 {
            assert_eq!(refused, Err(io::ErrorKind::PermissionDenied));
        }
    }

    #[test]
    fn the_folder_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::create_dir(&file).unwrap();
        std::os::unix::fs::symlink(file.join("further"), &link).unwrap();
        fs::write(file.join("further"), "").unwrap();
        assert_eq!(folder_of(&link), fs::canonicalize(&file).unwrap());
        assert_eq!(folder_of(Path::new("/etc/l2link/none.toml")), Path::new("/etc/l2link"));
        assert_eq!(folder_of(Path::new("relay.toml")), Path::new("."));
        assert_eq!(folder_of(Path::new("/")), Path::new("."));
    }
}
