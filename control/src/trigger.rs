//! [`Trigger`]: what tells the daemon that sockets were opened, and in which of two ways.

use control_core::seen::SocketPart;
use control_core::{NamespaceId, Recorded, Triggered};
use l2link::Time;
use l2link_os::trigger::{Told, Trigger as Tracefs};
use l2link_os::{NetNs, SetupError};
use log::{info, warn};
use serde::Deserialize;
use socket_events::{Error, SocketEvents, Watch, Watcher};
use std::os::fd::{AsRawFd, RawFd};

/// What is to tell of sockets: `detection` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Detection {
    /// BPF if it can be had, else tracefs.
    #[default]
    Auto,
    /// Tracepoints, by tracefs.
    Tracefs,
    /// Programs in the kernel. The daemon does not start without them.
    Bpf,
}

/// What tells of sockets.
#[derive(Debug)]
pub(crate) enum Trigger {
    /// Tracepoints, of the whole machine.
    Tracefs(Tracefs),
    /// Programs in the kernel, of the namespaces that are watched.
    Bpf(SocketEvents),
    /// Nothing: they are found by polling.
    Nothing,
}

impl Trigger {
    /// Opens it, and logs which it is.
    pub(crate) fn open(detection: Detection) -> Result<Self, SetupError> {
        if detection != Detection::Tracefs {
            match SocketEvents::open() {
                Ok(events) => {
                    let packets = if events.tells_of_packet_sockets() {
                        ""
                    } else {
                        "; packet sockets, which this kernel does not tell of, are looked for every 0.2 s"
                    };
                    info!(target: LOG, "BPF tells of new sockets{packets}");
                    return Ok(Self::Bpf(events));
                }
                Err(error) if detection == Detection::Bpf => {
                    return Err(SetupError::SocketEvents(error.to_string()));
                }
                Err(error) => info!(target: LOG, "tracefs is to tell of new sockets, not BPF: {error}"),
            }
        }
        Ok(Tracefs::open()?.map_or(Self::Nothing, |trigger| {
            if trigger.is_complete() {
                info!(target: LOG, "tracefs tells of new sockets");
            }
            Self::Tracefs(trigger)
        }))
    }

    /// Of which sockets it tells.
    pub(crate) fn triggered(&self) -> Triggered {
        match self {
            Self::Tracefs(trigger) if trigger.is_complete() => Triggered::All,
            Self::Bpf(events) if events.tells_of_packet_sockets() => Triggered::All,
            Self::Bpf(_) => Triggered::AllButPackets,
            Self::Tracefs(_) | Self::Nothing => Triggered::Nothing,
        }
    }

    /// Its name in answers.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Tracefs(_) => "tracefs",
            Self::Bpf(_) => "bpf",
            Self::Nothing => "polling",
        }
    }

    /// Whether it needs tables of the kernel to be changed later.
    pub(crate) fn is_bpf(&self) -> bool {
        matches!(self, Self::Bpf(_))
    }

    /// The descriptor that becomes readable.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Tracefs(trigger) => Some(trigger.as_raw_fd()),
            Self::Bpf(events) => Some(events.as_raw_fd()),
            Self::Nothing => None,
        }
    }

    /// What has to be told of namespaces, if anything.
    pub(crate) fn watcher(&self) -> Option<Watcher> {
        match self {
            Self::Bpf(events) => Some(events.watcher()),
            Self::Tracefs(_) | Self::Nothing => None,
        }
    }

    /// Tells the core of what was told. One that cannot be read may tell of anything.
    pub(crate) fn hint(&mut self, control: &mut Recorded, now: Time) {
        match self {
            Self::Tracefs(trigger) => {
                hint(control, None, trigger.drain().unwrap_or(Told::ANYTHING), now);
            }
            Self::Bpf(events) => match events.drain() {
                Ok(news) => {
                    for news in news {
                        hint(control, Some(NamespaceId(news.namespace)), news.told, now);
                    }
                }
                Err(_) => hint(control, None, Told::ANYTHING, now),
            },
            Self::Nothing => {}
        }
    }
}

fn hint(control: &mut Recorded, namespace: Option<NamespaceId>, told: Told, now: Time) {
    let parts = [(told.listeners, SocketPart::Listeners), (told.others, SocketPart::Others)];
    for (_, part) in parts.into_iter().filter(|(told, _)| *told) {
        control.handle_hint(namespace, part, now);
    }
}

/// Begins to watch a namespace. One that cannot be watched is looked at from time to time.
pub(crate) fn watch(watcher: &Watcher, netns: &NetNs, id: NamespaceId) -> Option<Watch> {
    let cookie = netns.cookie().map_err(|source| Error::Table { table: "places", source });
    cookie
        .and_then(|cookie| watcher.watch(cookie, id.0))
        .inspect_err(|error| warn!(target: LOG, "sockets of {id} are found by polling: {error}"))
        .ok()
}

const LOG: &str = "control::detection";
