//! Given addresses between the link, the [`Given`](crate::given) and the shell.

use crate::action::Action;
use crate::given::{GivenAddress, Order, Refusal};
use crate::relay::Relay;
use frames::message::{AddressReply, Message, PortAddresses, Status};
use l2link::{PeerId, Time};

impl Relay {
    /// The kernel did not do what [`Action::AddAddress`] or [`Action::DeleteAddress`] asked for; `errno` is its error number.
    pub fn handle_address_failure(&mut self, address: &GivenAddress, errno: i32, text: &str, now: Time) {
        let refusal = match errno {
            EEXIST => Refusal::new(Status::CONFLICT, "the interface has it already, and not from a control"),
            _ => Refusal::new(Status::SYSTEM, text),
        };
        self.given.failed(address, refusal, now);
    }

    pub(crate) fn port_addresses(&mut self, peer: PeerId, said: &PortAddresses<'_>) {
        let granted = self.symbols.has(peer, said.port);
        self.given.say(peer, said.port, said.addresses, granted, &self.ports);
    }

    /// Does what the last comparison led to.
    pub(crate) fn order_addresses(&mut self) {
        for order in core::mem::take(&mut self.given.orders) {
            match order {
                Order::Add(address) => self.actions.push_back(Action::AddAddress(address)),
                Order::Delete(address) => self.actions.push_back(Action::DeleteAddress(address)),
                Order::Reply { peer, port, address, refusal: Refusal { status, text } } => {
                    let (control, name) = (self.control_name(peer), self.port_name(port));
                    if status == Status::OK {
                        log::info!(target: "relay::port", "port {name} has {address} from {control}");
                    } else {
                        log::warn!(target: "relay::port", "port {name}: {address} of {control} refused: {text}");
                    }
                    let reply = AddressReply { port, address, status, text: &text };
                    self.link.send_message(peer, &Message::AddressReply(reply));
                }
            }
        }
    }
}

// errno of `asm-generic/errno-base.h`; the core knows no libc.
const EEXIST: i32 = 17;
