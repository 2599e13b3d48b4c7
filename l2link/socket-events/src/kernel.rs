//! [`SocketEvents`]: the programs in the kernel, and what they tell.

use crate::places::{Watcher, failed};
use crate::{Error, News, cgroup};
use core::cell::RefCell;
use libbpf_rs::{Link, MapCore as _, MapHandle, Object, ObjectBuilder, RingBuffer, RingBufferBuilder};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::rc::Rc;

/// Tells of sockets that are opened or closed, anywhere on this machine, in namespaces that are watched.
#[derive(Debug)]
pub struct SocketEvents {
    watcher: Watcher,
    bell: MapHandle,
    ring: RingBuffer<'static>,
    /// What came out of the ring: a place, and a part.
    heard: Rc<RefCell<Vec<(u32, u32)>>>,
    packets: bool,
    _links: Vec<Link>,
}

impl SocketEvents {
    /// Puts the programs into the kernel. They tell nothing before a namespace is watched.
    ///
    /// # Errors
    /// Why not.
    pub fn open() -> Result<Self, Error> {
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Info, |_, text| {
            log::debug!(target: "socket_events", "libbpf: {}", text.trim_end());
        })));
        let root = cgroup::root()?;
        // Kernels before 6.14 have no such tracepoint.
        let (object, packets) = match load(true) {
            Ok(object) => (object, true),
            Err(_) => (load(false)?, false),
        };
        let mut links = Vec::new();
        for program in object.progs_mut() {
            if program.name() != CAPABLE || packets {
                let at_cgroup = program.section().to_string_lossy().starts_with("cgroup/");
                let link = if at_cgroup { program.attach_cgroup(root.as_raw_fd()) } else { program.attach() };
                links.push(link.map_err(|error| Error::Attach {
                    program: program.name().to_string_lossy().into_owned(),
                    source: io::Error::other(error),
                })?);
            }
        }
        let watcher = Watcher::new(map(&object, "places")?, &map(&object, "words")?)?;
        let bell = map(&object, "bell")?;
        let heard = Rc::new(RefCell::new(Vec::new()));
        let ring = ring(&bell, heard.clone()).map_err(io::Error::other).map_err(failed("bell"))?;
        Ok(Self { watcher, bell, ring, heard, packets, _links: links })
    }

    /// Whether packet sockets are told of, too.
    #[must_use]
    pub fn tells_of_packet_sockets(&self) -> bool {
        self.packets
    }

    /// What watches namespaces.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        self.watcher.clone()
    }

    /// What was told since the last time. Does not block.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn drain(&mut self) -> io::Result<Vec<News>> {
        self.ring.consume().map_err(io::Error::other)?;
        let heard = self.heard.take();
        let mut news = self.watcher.lost();
        news.extend(heard.into_iter().flat_map(|(place, part)| self.watcher.news(place, part)));
        Ok(news)
    }
}

impl AsRawFd for SocketEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_fd().as_raw_fd()
    }
}

/// Loads the programs, those for packet sockets only if that is said.
fn load(packets: bool) -> Result<Object, Error> {
    let load = || {
        let mut object = ObjectBuilder::default().open_memory(PROGRAMS)?;
        object
            .progs_mut()
            .filter(|program| program.name() == CAPABLE)
            .for_each(|mut program| program.set_autoload(packets));
        object.load()
    };
    load().map_err(|error: libbpf_rs::Error| Error::Load { source: io::Error::other(error) })
}

fn map(object: &Object, name: &'static str) -> Result<MapHandle, Error> {
    let map = object.maps().find(|map| map.name() == name);
    let map = map.ok_or(Error::Table { table: name, source: io::ErrorKind::NotFound.into() })?;
    MapHandle::try_from(&map).map_err(io::Error::other).map_err(failed(name))
}

fn ring(bell: &MapHandle, heard: Rc<RefCell<Vec<(u32, u32)>>>) -> libbpf_rs::Result<RingBuffer<'static>> {
    let mut builder = RingBufferBuilder::new();
    builder.add(bell, move |record| {
        if let Some(([place @ .., a, b, c, d], _)) = record.split_first_chunk::<8>() {
            heard.borrow_mut().push((u32::from_ne_bytes(*place), u32::from_ne_bytes([*a, *b, *c, *d])));
        }
        0
    })?;
    builder.build()
}

/// What clang made of `socket_events.bpf.c`.
const PROGRAMS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/socket_events.o"));
/// The program that tells of packet sockets.
const CAPABLE: &str = "capable";
