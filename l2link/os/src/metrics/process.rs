//! The daemon as a process, under the names that all exporters of Prometheus use.

use super::{Exposition, Metric};
use core::time::Duration;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Adds the figures that the system gives; one that it does not give is left out. `started` is when the daemon was.
pub(super) fn add(exposition: &mut Exposition, started: SystemTime) {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let spent = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        exposition.add(Metric::CpuSeconds, &[], Duration::from_micros(spent.unsigned_abs()));
    }
    if let Some([virtual_memory, resident]) = memory() {
        exposition.add(Metric::ResidentMemory, &[], resident);
        exposition.add(Metric::VirtualMemory, &[], virtual_memory);
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        // One is that of the folder itself.
        exposition.add(Metric::OpenDescriptors, &[], descriptors.count().saturating_sub(1) as u64);
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        exposition.add(Metric::MaxDescriptors, &[], soft);
    }
    if let Ok(since) = started.duration_since(UNIX_EPOCH) {
        exposition.add(Metric::StartTime, &[], since);
    }
}

/// Bytes of address space and bytes in RAM (proc(5), `statm`).
fn memory() -> Option<[u64; 2]> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    let mut pages = statm.split(' ').map(|word| word.parse::<u64>().ok());
    Some([pages.next()?? * page, pages.next()?? * page])
}

#[cfg(test)]
mod tests {
    use super::super::Owner;
    use super::*;

    #[test]
    fn all_figures_are_there_and_sensible() {
        let mut exposition = Exposition::new(Owner::Relay);
        add(&mut exposition, SystemTime::now());
        let text = exposition.into_text();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            let value: f64 = line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
            assert!(value > 0.0, "{name} {value}");
        }
        let [virtual_memory, resident] = memory().unwrap();
        assert!(resident > 100_000 && resident < virtual_memory, "{resident} of {virtual_memory}");
    }
}
