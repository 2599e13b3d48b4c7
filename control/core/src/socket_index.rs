//! [`SocketIndex`]: which sockets a rule is for.

use crate::flow::FlowKey;
use crate::rule::Rule;
use crate::seen::NumberedSocket;
use crate::symbol::Symbol;
use frames::ProtocolAddress;
use std::collections::{BTreeMap, BTreeSet};

type ByAddress<'a> = BTreeMap<ProtocolAddress, Vec<&'a NumberedSocket>>;

/// Sockets by what they are for.
#[derive(Debug)]
pub(crate) struct SocketIndex<'a> {
    exactly: ByAddress<'a>,
    /// Connections by the listeners that may have accepted them.
    accepted: ByAddress<'a>,
}

impl<'a> SocketIndex<'a> {
    pub(crate) fn new(sockets: &'a [NumberedSocket]) -> Self {
        let mut index = Self { exactly: BTreeMap::new(), accepted: BTreeMap::new() };
        for socket in sockets {
            index.exactly.entry(socket.address).or_default().push(socket);
            if let Ok(flow) = FlowKey::try_from(&socket.address) {
                for listener in flow.listeners() {
                    index.accepted.entry(listener).or_default().push(socket);
                }
            }
        }
        index
    }

    /// Inode numbers of a rule's sockets: those that listen, and if there are none any more, the connections that they left.
    pub(crate) fn of(&self, rule: &Rule, symbol: &Symbol) -> Vec<u32> {
        let [listening, left] = [&self.exactly, &self.accepted].map(|sockets| {
            let all = sockets.get(&rule.protocol_address).into_iter().flatten();
            let here = all.filter(|socket| {
                socket.namespace == symbol.namespace
                    && (socket.interface.is_none() || socket.interface == symbol.ifindex())
            });
            here.map(|socket| socket.inode).collect::<BTreeSet<u32>>()
        });
        if listening.is_empty() { left } else { listening }.into_iter().collect()
    }
}
