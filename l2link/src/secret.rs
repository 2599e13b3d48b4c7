//! [`Secret`]: bytes that nobody else may know, and [`wipe_stack`].
//!
//! A value that is moved or copied leaves its bytes where it was. So a secret is written where it stays, on the heap, and its
//! clones share that one place, which is wiped with the last of them. What computes with it, here and in libraries, leaves traces
//! on the stack nevertheless: these are overwritten when it has returned.

use aws_lc_rs::constant_time;
use core::fmt;
use core::hint::black_box;
use core::ops::Deref;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// So many bytes. The `Debug` form shows none.
#[derive(Clone)]
pub struct Secret<const N: usize = 32>(Arc<Zeroizing<[u8; N]>>);

impl<const N: usize> Secret<N> {
    /// Has them written in their place, in which there are zeros before.
    #[must_use]
    pub fn written(write: impl FnOnce(&mut [u8; N])) -> Self {
        let mut place = Arc::new(Zeroizing::new([0; N]));
        if let Some(bytes) = Arc::get_mut(&mut place) {
            write(bytes);
        }
        Self(place)
    }

    /// The same, unless that fails.
    ///
    /// # Errors
    /// What `write` says.
    pub fn try_written<E>(write: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut result = Ok(());
        let secret = Self::written(|bytes| result = write(bytes));
        result.map(|()| secret)
    }

    /// A copy of bytes, which are wiped.
    #[must_use]
    pub fn taken(bytes: &mut [u8; N]) -> Self {
        let secret = Self::written(|place| place.copy_from_slice(bytes));
        bytes.zeroize();
        secret
    }
}

impl<const N: usize> Deref for Secret<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Default for Secret<N> {
    fn default() -> Self {
        Self::written(|_| ())
    }
}

/// For bytes that are no secret where they come from. See [`Secret::taken`].
impl<const N: usize> From<[u8; N]> for Secret<N> {
    fn from(mut bytes: [u8; N]) -> Self {
        Self::taken(&mut bytes)
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&**self, &**other).is_ok()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Overwrites what functions that have returned to the caller left on the stack, as deep as cryptography here goes.
#[inline(never)]
#[allow(clippy::large_stack_arrays, reason = "that is the point")]
pub fn wipe_stack() {
    let mut room = [0_u8; DEPTH];
    black_box(&mut room);
}

/// Several times what a handshake takes of the stack in a build without optimization.
const DEPTH: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_one_place_and_show_nothing() {
        let secret: Secret = Secret::written(|bytes| bytes.fill(0x41));
        let clone = secret.clone();
        assert!(core::ptr::eq(&*secret, &*clone));
        assert_eq!((secret, *clone), (Secret::from([0x41; 32]), [0x41; 32]));
        assert_ne!(clone, Secret::default());
        assert_eq!(format!("{clone:?} {:?}", Some(&clone)), "Secret(..) Some(Secret(..))");
    }

    #[test]
    fn what_is_taken_is_wiped_where_it_was() {
        let mut bytes = [7; 16];
        assert_eq!(*Secret::taken(&mut bytes), [7; 16]);
        assert_eq!(bytes, [0; 16]);
        assert_eq!(Secret::<4>::try_written(|_| Err("no")), Err("no"));
    }
}
