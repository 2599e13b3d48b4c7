//! What interfaces do with packets before they leave: queueing disciplines (tc(8)).

use super::{IfIndex, Netlink};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcMessage};
use std::collections::BTreeMap;
use std::io;

impl Netlink {
    /// The interfaces whose packets somebody has delayed, dropped, sorted or filtered as they leave, each with the kernel's word for what
    /// does so.
    ///
    /// # Errors
    /// The kernel's.
    pub fn shaped(&mut self) -> io::Result<BTreeMap<IfIndex, String>> {
        let answers = self.requests.dump(&RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()))?;
        let shapers = answers.into_iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewQueueDiscipline(TcMessage { header, attributes, .. }) = answer else {
                return None;
            };
            let kind = attributes.into_iter().find_map(|attribute| match attribute {
                TcAttribute::Kind(kind) => Some(kind),
                _ => None,
            })?;
            Some((IfIndex(u32::try_from(header.index).ok()?), kind))
        });
        Ok(shapers.filter(|(_, kind)| !PLAIN.contains(&kind.as_str())).collect())
    }
}

/// Those that are there by themselves, or do no more than share a queue out that is too long; and `ingress`, which is the other direction's.
const PLAIN: [&str; 10] =
    ["noqueue", "mq", "pfifo_fast", "pfifo", "bfifo", "sfq", "codel", "fq_codel", "fq", "ingress"];
