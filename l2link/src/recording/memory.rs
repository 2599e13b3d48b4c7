//! [`Memory`]: a recording that is kept in memory.

use super::Sink;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps a recording; clones have it in common.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    /// All of it so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Memory {
    fn put(&mut self, bytes: &[u8]) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        true
    }
}

/// Takes fewer parts of a recording than this number, and then no more.
#[derive(Debug)]
pub struct Limited(pub u32, pub Memory);

impl Sink for Limited {
    fn put(&mut self, bytes: &[u8]) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0 && self.1.put(bytes)
    }
}
