//! What another user of the machine sees: on a thread of its own, as users and groups are a thread's to the kernel.

use std::io::Write;

/// Whether this process can be another user. Says so if it cannot.
pub(crate) fn possible() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        // The harness shows it with the test's name.
        let _ = writeln!(std::io::stderr(), "SKIPPED: to be another user takes root");
    }
    root
}

/// Runs something as a user, with a group and supplementary groups.
pub(crate) fn run<T: Send>(uid: u32, gid: u32, groups: &[u32], closure: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let done = |result: i64, what: &str| {
                assert_eq!(result, 0, "{what}: {}", std::io::Error::last_os_error())
            };
            // SAFETY: it changes this thread alone, and reads as many groups as it is told.
            let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
            done(result, "setgroups");
            // SAFETY: it changes this thread alone.
            done(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }, "setresgid");
            // SAFETY: it changes this thread alone.
            done(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }, "setresuid");
            closure()
        });
        thread.join().expect("a closure that does not panic")
    })
}
