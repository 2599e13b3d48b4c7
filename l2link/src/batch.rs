//! Link frames on their way to the wire, in memory that is allotted once.

/// A fixed number of slots, each for one Ethernet frame. Filled by the link, emptied by the shell with one system call.
#[derive(Debug)]
pub struct Batch {
    memory: Box<[u8]>,
    slot_len: usize,
    lengths: Vec<usize>,
    slots: usize,
}

impl Batch {
    /// `slots` frames of at most `slot_len` bytes (see [`crate::Link::frame_len_max`]).
    #[must_use]
    pub fn new(slots: usize, slot_len: usize) -> Self {
        Self {
            memory: vec![0; slots * slot_len].into_boxed_slice(),
            slot_len,
            lengths: Vec::with_capacity(slots),
            slots,
        }
    }

    /// Slots that are still free.
    #[must_use]
    pub fn room(&self) -> usize {
        self.slots - self.lengths.len()
    }

    /// Bytes of a slot.
    #[must_use]
    pub fn slot_len(&self) -> usize {
        self.slot_len
    }

    /// Whether no frame waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Frames that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// The next free slot, whole; nothing is queued before [`Batch::commit`].
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        let start = self.lengths.len() * self.slot_len;
        self.memory.get_mut(start..start + self.slot_len)
    }

    /// Queues the first `len` bytes of the slot.
    pub fn commit(&mut self, len: usize) {
        debug_assert!(len <= self.slot_len && self.room() > 0);
        self.lengths.push(len);
    }

    /// The newest waiting frame: its slot, whole, and its length.
    pub(crate) fn last_mut(&mut self) -> Option<(&mut [u8], usize)> {
        let length = *self.lengths.last()?;
        let start = (self.lengths.len() - 1) * self.slot_len;
        Some((self.memory.get_mut(start..start + self.slot_len)?, length))
    }

    /// The newest waiting frame has `len` bytes now.
    pub(crate) fn recommit(&mut self, len: usize) {
        debug_assert!(len <= self.slot_len && !self.is_empty());
        if let Some(last) = self.lengths.last_mut() {
            *last = len;
        }
    }

    /// The waiting frames in order.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.lengths.iter().enumerate().map(|(index, len)| {
            let start = index * self.slot_len;
            &self.memory[start..start + len]
        })
    }

    /// Empties the batch.
    pub fn clear(&mut self) {
        self.lengths.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_goes_with_every_frame_and_comes_back() {
        let mut batch = Batch::new(2, 100);
        for room in [2, 1] {
            assert_eq!((batch.room(), batch.is_empty()), (room, room == 2));
            assert_eq!(batch.slot().map(|slot| slot.len()), Some(100));
            batch.commit(60);
        }
        assert_eq!((batch.room(), batch.slot()), (0, None));
        batch.clear();
        assert_eq!(batch.room(), 2);
    }
}
