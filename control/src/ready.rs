//! [`Ready`]: sources that have something to give.
//!
//! mio tells of a source once, when it becomes readable. Whoever stops reading before the end puts the source back here,
//! and the loop comes back without waiting. The order of [`Source`] is the order of work.

use crate::source::Source;
use std::collections::BTreeSet;
use std::ops::Bound;

#[derive(Debug, Default)]
pub(crate) struct Ready {
    sources: BTreeSet<Source>,
}

impl Ready {
    pub(crate) fn insert(&mut self, source: Source) {
        self.sources.insert(source);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Takes out the first source behind `last`. A source that is put back during a pass waits for the next pass.
    pub(crate) fn take_behind(&mut self, last: Option<Source>) -> Option<Source> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let source = *self.sources.range((start, Bound::Unbounded)).next()?;
        self.sources.remove(&source);
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::SymbolId;

    #[test]
    fn one_pass_takes_each_source_once_in_order() {
        let mut ready = Ready::default();
        let sources =
            [Source::Symbol(SymbolId(2)), Source::Link, Source::Symbol(SymbolId(1)), Source::Trigger];
        sources.into_iter().for_each(|source| ready.insert(source));
        let mut taken = Vec::new();
        while let Some(source) = ready.take_behind(taken.last().copied()) {
            taken.push(source);
            ready.insert(source);
        }
        let expected =
            [Source::Trigger, Source::Link, Source::Symbol(SymbolId(1)), Source::Symbol(SymbolId(2))];
        assert_eq!(taken, expected);
        assert!(!ready.is_empty());
    }
}
