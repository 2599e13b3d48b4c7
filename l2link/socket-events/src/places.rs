//! [`Watcher`]: which namespaces are watched, and the words that tell what happened there.

use crate::{Error, News};
use core::cell::RefCell;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use l2link_os::sockets::Part;
use l2link_os::trigger::Told;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use nix::sys::mman::{MapFlags as Sharing, ProtFlags, mmap, munmap};
use std::io;
use std::os::fd::AsFd as _;
use std::rc::Rc;

/// Has programs in the kernel tell of more namespaces.
#[derive(Debug, Clone)]
pub struct Watcher(Rc<Shared>);

/// A namespace that is watched, as long as this lives.
#[derive(Debug)]
pub struct Watch {
    shared: Rc<Shared>,
    place: usize,
    namespace: u32,
}

#[derive(Debug)]
struct Shared {
    places: MapHandle,
    words: Words,
    /// What is at each place; the first is nobody's.
    taken: RefCell<Vec<Option<Place>>>,
}

#[derive(Debug)]
struct Place {
    cookie: u64,
    /// Who watches it: a namespace may have two names.
    namespaces: Vec<u32>,
}

impl Watcher {
    pub(crate) fn new(places: MapHandle, words: &MapHandle) -> Result<Self, Error> {
        let words = Words::map(words).map_err(failed("words"))?;
        Ok(Self(Rc::new(Shared { places, words, taken: RefCell::new(vec![None]) })))
    }

    /// Begins to watch the namespace with this cookie ([`l2link_os::NetNs::cookie`]), under a number for [`News`].
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Table`].
    pub fn watch(&self, cookie: u64, namespace: u32) -> Result<Watch, Error> {
        let mut taken = self.0.taken.borrow_mut();
        let known = taken.iter().position(|place| place.as_ref().is_some_and(|place| place.cookie == cookie));
        let place = match known {
            Some(place) => place,
            None => {
                let free = (1..PLACES).find(|place| !matches!(taken.get(*place), Some(Some(_))));
                let place = free.ok_or(Error::Full(PLACES - 1))?;
                self.0.words.of(place).store(0, Ordering::SeqCst);
                let value = u32::try_from(place).unwrap_or_default().to_ne_bytes();
                let added = self.0.places.update(&cookie.to_ne_bytes(), &value, MapFlags::ANY);
                added.map_err(io::Error::other).map_err(failed("places"))?;
                let length = taken.len().max(place + 1);
                taken.resize_with(length, || None);
                taken[place] = Some(Place { cookie, namespaces: Vec::new() });
                place
            }
        };
        if let Some(Some(place)) = taken.get_mut(place) {
            place.namespaces.push(namespace);
        }
        Ok(Watch { shared: self.0.clone(), place, namespace })
    }

    /// Who watches a place, and what a program said of it.
    pub(crate) fn news(&self, place: u32, part: u32) -> Vec<News> {
        let told = Told { listeners: part & LISTENERS != 0, others: part & OTHERS != 0 };
        let taken = self.0.taken.borrow();
        let place = usize::try_from(place).ok().and_then(|place| taken.get(place)?.as_ref());
        let namespaces = place.into_iter().flat_map(|place| &place.namespaces);
        namespaces.map(|namespace| News { namespace: *namespace, told }).collect()
    }

    /// Anything may have happened anywhere, if a program could not say what; the answer "yes" is given once.
    pub(crate) fn lost(&self) -> Vec<News> {
        if self.0.words.of(NO_PLACE).load(Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        self.0.words.of(NO_PLACE).store(0, Ordering::SeqCst);
        let taken = self.0.taken.borrow();
        let namespaces = taken.iter().flatten().flat_map(|place| &place.namespaces);
        namespaces.map(|namespace| News { namespace: *namespace, told: Told::ANYTHING }).collect()
    }
}

impl Watch {
    /// To be called before a part is dumped: what happens from here on wakes the daemon again.
    pub fn begin_look(&self, part: Part) {
        let bit = match part {
            Part::Listeners => LISTENERS,
            Part::Others => OTHERS,
        };
        self.shared.words.of(self.place).fetch_and(!u64::from(bit), Ordering::SeqCst);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut taken = self.shared.taken.borrow_mut();
        let Some(slot) = taken.get_mut(self.place) else { return };
        let Some(place) = slot else { return };
        if let Some(index) = place.namespaces.iter().position(|namespace| *namespace == self.namespace) {
            place.namespaces.swap_remove(index);
        }
        if place.namespaces.is_empty() {
            if let Err(error) = self.shared.places.delete(&place.cookie.to_ne_bytes()) {
                log::warn!("a namespace goes on to be watched: {error}");
            }
            *slot = None;
        }
    }
}

/// The map `words` in this process's memory.
#[derive(Debug)]
struct Words {
    begin: NonNull<AtomicU64>,
}

impl Words {
    fn map(map: &MapHandle) -> io::Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let length = NonZeroUsize::new(LENGTH).unwrap_or(NonZeroUsize::MIN);
        // SAFETY: the mapping is a new one, and nobody else has it.
        let begin = unsafe { mmap(None, length, access, Sharing::MAP_SHARED, map.as_fd(), 0) }?;
        Ok(Self { begin: begin.cast() })
    }

    fn of(&self, place: usize) -> &AtomicU64 {
        assert!(place < PLACES);
        // SAFETY: the map has PLACES words of 64 bits.
        let word = unsafe { self.begin.add(place) };
        // SAFETY: it is mapped as long as `self` lives, begins at a page, and others change it by atomic operations only.
        unsafe { word.as_ref() }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: it is what was mapped, and no reference outlives `self`.
        if let Err(error) = unsafe { munmap(self.begin.cast(), LENGTH) } {
            log::warn!("memory that the kernel shares stays mapped: {error}");
        }
    }
}

pub(crate) fn failed(table: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Table { table, source }
}

// As in socket_events.bpf.c.
const PLACES: usize = 4096;
const LISTENERS: u32 = 1;
const OTHERS: u32 = 2;
const NO_PLACE: usize = 0;
const LENGTH: usize = PLACES * size_of::<AtomicU64>();
