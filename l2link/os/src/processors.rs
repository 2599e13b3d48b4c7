//! [`Processors`]: on which of them the calling thread runs.

use crate::SetupError;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;
use std::io;

/// Those that the calling thread may run on, and the one that it is told to stay on. It gets them all back when this is dropped.
#[derive(Debug)]
pub struct Processors {
    all: CpuSet,
    only: Option<usize>,
}

impl Processors {
    /// Of the calling thread, which may run on all that it may run on now.
    ///
    /// # Errors
    /// The kernel's: it has more processors than a set can name.
    pub fn of_this_thread() -> Result<Self, SetupError> {
        let all = sched_getaffinity(THIS)
            .map_err(|errno| SetupError::system("ask for its processors", errno.into()))?;
        Ok(Self { all, only: None })
    }

    /// Has the thread stay on one.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` if the thread may not run there.
    pub fn stay_on(&mut self, processor: usize) -> io::Result<()> {
        if self.only == Some(processor) {
            return Ok(());
        }
        let mut set = CpuSet::new();
        if !self.all.is_set(processor)? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.set(processor)?;
        sched_setaffinity(THIS, &set)?;
        self.only = Some(processor);
        Ok(())
    }

    /// The one that the thread stays on.
    #[must_use]
    pub fn only(&self) -> Option<usize> {
        self.only
    }

    /// Has the thread run on all of them again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn roam(&mut self) -> io::Result<()> {
        if self.only.take().is_some() {
            sched_setaffinity(THIS, &self.all)?;
        }
        Ok(())
    }
}

impl Drop for Processors {
    fn drop(&mut self) {
        let _ = self.roam();
    }
}

/// The processor that a thread of any program runs on, or ran on last; none if there is no such thread, or it is hidden.
#[must_use]
pub fn of_thread(thread: u32) -> Option<usize> {
    processor(&fs::read_to_string(format!("/proc/{thread}/stat")).ok()?)
}

/// The 39th field of proc_pid_stat(5). The second one, a name in brackets, may hold anything.
fn processor(stat: &str) -> Option<usize> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    behind_name.split(' ').nth(36)?.parse().ok()
}

const THIS: Pid = Pid::from_raw(0);

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::gettid;

    #[test]
    fn a_thread_stays_and_roams() {
        let mut processors = Processors::of_this_thread().unwrap();
        let before = sched_getaffinity(THIS).unwrap();
        let own = u32::try_from(gettid().as_raw()).unwrap();
        for processor in (0..CpuSet::count()).filter(|processor| before.is_set(*processor).unwrap()) {
            processors.stay_on(processor).unwrap();
            assert_eq!((processors.only(), of_thread(own)), (Some(processor), Some(processor)));
        }
        drop(processors);
        assert_eq!(sched_getaffinity(THIS).unwrap(), before);
    }

    #[test]
    fn a_processor_that_is_not_the_threads_is_refused() {
        let mut processors = Processors::of_this_thread().unwrap();
        let absent = (0..CpuSet::count()).find(|processor| !processors.all.is_set(*processor).unwrap());
        assert!(processors.stay_on(absent.unwrap_or(CpuSet::count())).is_err());
        assert_eq!(processors.only(), None);
    }

    #[test]
    fn the_name_of_a_program_may_hold_anything() {
        let fields = (3..=52).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(processor(&format!("7 (a) b (c)) {fields}\n")), Some(39));
        assert_eq!(processor("7 (a) R 1 2"), None);
    }
}
