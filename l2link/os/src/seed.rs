//! Randomness from the kernel.

use crate::SetupError;
use frames::BootId;
use l2link::Secret;
use std::io;

/// 32 bytes that nobody can guess.
///
/// # Errors
/// If the kernel refuses, which it does only where a sandbox forbids `getrandom(2)`.
pub fn random() -> Result<Secret, SetupError> {
    Secret::try_written(|bytes| fill(bytes))
}

/// A number for this life of the daemon. Never zero.
///
/// # Errors
/// As [`random`].
pub fn boot_id() -> Result<BootId, SetupError> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(BootId(u64::from_ne_bytes(bytes).max(1)))
}

fn fill(mut rest: &mut [u8]) -> Result<(), SetupError> {
    while !rest.is_empty() {
        // SAFETY: `rest` is valid for writing `rest.len()` bytes.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => rest = &mut rest[count..],
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(SetupError::system("drawing random bytes", error)),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(random().unwrap(), random().unwrap());
        assert_ne!(boot_id().unwrap(), boot_id().unwrap());
        assert!(random().unwrap().iter().any(|byte| *byte != 0));
    }
}
