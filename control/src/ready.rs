//! [`Ready`]: sources that have something to give.
//!
//! mio tells of a source once, when it becomes readable. Whoever stops reading before the end puts the source back here,
//! and the loop comes back without waiting. The order of [`Source`] is the order of work, but a symbol with more than a turn's
//! worth comes behind the others, who would wait for it.

use crate::source::Source;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(crate) struct Ready {
    sources: BTreeSet<Source>,
    /// Symbols that were put back.
    behind: BTreeSet<Source>,
}

impl Ready {
    /// A source has something to give.
    pub(crate) fn insert(&mut self, source: Source) {
        if !self.behind.contains(&source) {
            self.sources.insert(source);
        }
    }

    /// A source that gave its share has more.
    pub(crate) fn put_back(&mut self, source: Source) {
        match source {
            Source::Symbol(_) => self.behind.insert(source),
            _ => self.sources.insert(source),
        };
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.behind.is_empty()
    }

    /// Takes all sources out, in the order of work. What comes or is put back meanwhile waits for the next pass.
    pub(crate) fn pass(&mut self) -> impl Iterator<Item = Source> + use<> {
        let [sources, behind] = [&mut self.sources, &mut self.behind].map(core::mem::take);
        sources.into_iter().chain(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::SymbolId;

    #[test]
    fn one_pass_takes_each_source_once_and_those_put_back_last() {
        let mut ready = Ready::default();
        let [one, two, three] = [1, 2, 3].map(|id| Source::Symbol(SymbolId(id)));
        [two, Source::Link, one, Source::Trigger].into_iter().for_each(|source| ready.insert(source));
        for source in ready.pass() {
            if source != two {
                ready.put_back(source);
            }
        }
        [three, two, one].into_iter().for_each(|source| ready.insert(source));
        assert!(!ready.is_empty());
        assert_eq!(ready.pass().collect::<Vec<_>>(), [Source::Trigger, Source::Link, two, three, one]);
        assert!(ready.is_empty());
    }
}
