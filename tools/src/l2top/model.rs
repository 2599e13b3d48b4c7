//! [`Model`]: what is known of the daemons, and what the user chose to see.

use crate::label;
use clap::ValueEnum;
use l2link_tools::sample::{Rates, Role, Sample};
use std::path::PathBuf;

/// What there is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum View {
    /// Which control has which port of which relay
    Topology,
    /// The devices heard on the segment
    Peers,
    /// What stands for ports on controls
    Symbols,
    /// Which packets go to which control
    Rules,
    /// Traffic of tunnels and translations
    Traffic,
    /// Frames and packets dropped, by reason
    Drops,
}

impl View {
    pub(crate) const ALL: [Self; 6] =
        [Self::Topology, Self::Peers, Self::Symbols, Self::Rules, Self::Traffic, Self::Drops];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Topology => "Topology",
            Self::Peers => "Peers",
            Self::Symbols => "Symbols",
            Self::Rules => "Rules",
            Self::Traffic => "Traffic",
            Self::Drops => "Drops",
        }
    }
}

/// How a table is sorted: by this column, from the other end if `reversed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sorting {
    pub(crate) column: usize,
    pub(crate) reversed: bool,
}

/// A daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    socket: PathBuf,
    /// Its newest tables, and whether they are of now.
    latest: Option<Sample>,
    before: Option<Sample>,
    rates: Rates,
    /// Why it cannot be reached at present.
    trouble: Option<String>,
}

/// Everything that is shown.
#[derive(Debug)]
pub(crate) struct Model {
    daemons: Vec<Daemon>,
    view: View,
    sortings: [Sorting; View::ALL.len()],
    offsets: [usize; View::ALL.len()],
    paused: bool,
}

impl Daemon {
    fn new(socket: PathBuf) -> Self {
        Self { socket, latest: None, before: None, rates: Rates::default(), trouble: None }
    }

    /// Its tables, if it was ever reached; those of before while it cannot be.
    pub(crate) fn latest(&self) -> Option<&Sample> {
        self.latest.as_ref()
    }

    pub(crate) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Why it cannot be reached.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub(crate) fn role(&self) -> Option<Role> {
        self.latest.as_ref().and_then(Sample::role)
    }

    /// Its name, or that of its socket.
    pub(crate) fn name(&self) -> String {
        let name = self.latest.as_ref().and_then(Sample::name);
        name.map_or_else(|| label(&self.socket), str::to_owned)
    }
}

impl Model {
    pub(crate) fn new(sockets: &[PathBuf], view: View) -> Self {
        Self {
            daemons: sockets.iter().cloned().map(Daemon::new).collect(),
            view,
            sortings: [Sorting::default(); View::ALL.len()],
            offsets: [0; View::ALL.len()],
            paused: false,
        }
    }

    /// A daemon told its tables.
    pub(crate) fn take(&mut self, place: usize, sample: Sample) {
        let paused = self.paused;
        let Some(daemon) = self.daemons.get_mut(place).filter(|_| !paused) else { return };
        let back = daemon.trouble.take().is_some();
        daemon.before = daemon.latest.take().filter(|_| !back);
        daemon.rates =
            daemon.before.as_ref().map_or_else(Rates::default, |before| Rates::between(before, &sample));
        daemon.latest = Some(sample);
    }

    /// A daemon cannot be reached.
    pub(crate) fn lose(&mut self, place: usize, trouble: String) {
        let paused = self.paused;
        if let Some(daemon) = self.daemons.get_mut(place).filter(|_| !paused) {
            daemon.rates = Rates::default();
            daemon.trouble = Some(trouble);
        }
    }

    /// Whether of each daemon is known what can be: rates, or that it cannot be reached.
    pub(crate) fn is_complete(&self) -> bool {
        self.daemons.iter().all(|daemon| daemon.before.is_some() || daemon.trouble.is_some())
    }

    pub(crate) fn daemons(&self) -> impl Iterator<Item = &Daemon> {
        self.daemons.iter()
    }

    pub(crate) fn view(&self) -> View {
        self.view
    }

    pub(crate) fn sorting(&self) -> Sorting {
        self.sortings[self.view as usize]
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// The first line to be shown of so many, where `room` fit: never beyond the end.
    pub(crate) fn offset(&mut self, lines: usize, room: usize) -> usize {
        let offset = &mut self.offsets[self.view as usize];
        *offset = (*offset).min(lines.saturating_sub(room));
        *offset
    }

    /// Goes so many views on.
    pub(crate) fn turn(&mut self, step: isize) {
        let count = View::ALL.len().cast_signed();
        let next = (self.view as usize).cast_signed() + step;
        self.choose(next.rem_euclid(count).cast_unsigned());
    }

    pub(crate) fn choose(&mut self, place: usize) {
        if let Some(view) = View::ALL.get(place) {
            self.view = *view;
        }
    }

    /// Sorts by the next column. After the last it begins again.
    pub(crate) fn sort_by_next(&mut self) {
        let columns = crate::view::columns(self.view);
        let sorting = &mut self.sortings[self.view as usize];
        *sorting = Sorting { column: (sorting.column + 1) % columns.max(1), reversed: false };
    }

    pub(crate) fn reverse(&mut self) {
        let sorting = &mut self.sortings[self.view as usize];
        sorting.reversed = !sorting.reversed;
    }

    /// Holds the picture, or lets it go on.
    pub(crate) fn pause(&mut self) {
        self.paused = !self.paused;
    }

    pub(crate) fn scroll(&mut self, lines: isize) {
        let offset = &mut self.offsets[self.view as usize];
        *offset = offset.saturating_add_signed(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_go_around() {
        let mut model = Model::new(&[], View::Topology);
        model.turn(-1);
        assert_eq!(model.view(), View::Drops);
        model.turn(1);
        assert_eq!(model.view(), View::Topology);
        model.choose(99);
        assert_eq!(model.view(), View::Topology);
        for (place, view) in View::ALL.iter().enumerate() {
            assert_eq!(*view as usize, place);
        }
    }

    #[test]
    fn scrolling_ends_where_the_table_does() {
        let mut model = Model::new(&[], View::Rules);
        model.scroll(isize::MAX);
        assert_eq!(model.offset(100, 20), 80);
        model.scroll(-5);
        assert_eq!(model.offset(100, 20), 75);
        assert_eq!(model.offset(10, 20), 0);
        model.scroll(isize::MIN);
        assert_eq!(model.offset(100, 20), 0);
    }

    #[test]
    fn a_paused_picture_stays_as_it_is() {
        let mut model = Model::new(&["/run/r.sock".into()], View::Peers);
        model.take(0, Sample::default());
        model.pause();
        model.lose(0, "gone".into());
        assert!(model.daemons[0].trouble().is_none());
        model.pause();
        model.lose(0, "gone".into());
        assert_eq!(model.daemons[0].trouble(), Some("gone"));
        model.take(0, Sample::default());
        assert!(model.daemons[0].trouble().is_none() && !model.is_complete(), "no rate across a restart");
    }
}
