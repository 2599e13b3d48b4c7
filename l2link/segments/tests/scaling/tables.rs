//! Whether relays hold exactly the rules of the controls that live.

use crate::device::{Core, Device};
use crate::segment::Segment;
use std::collections::BTreeMap;

/// A rule as `show rules` tells it, whoever does.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    control: String,
    up_tunnel: u32,
    protocol: String,
    address: String,
    port_number: Option<u16>,
    state: String,
}

impl Segment {
    /// Compares, of every relay that lives, its rules with those that the controls have there, and their number with that
    /// of the controls' open sockets. Returns how many rules there are.
    pub(crate) fn compare_tables(&self) -> Result<usize, String> {
        let controls =
            self.controls().map(|place| &self.devices[place]).filter(|control| control.core.is_some());
        let mut by_relay: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        controls.clone().for_each(|control| add_rules(control, &mut by_relay));
        let expected: usize = controls.map(Device::rules_expected).sum();
        let mut count = 0;
        for relay in self.relays().map(|place| &self.devices[place]) {
            let Some(Core::Relay(core)) = &relay.core else { continue };
            let mut wanted = by_relay.remove(&relay.name).unwrap_or_default();
            let rows = core.show_rules().into_iter().map(|row| Told {
                control: row.control,
                up_tunnel: row.up_tunnel,
                protocol: row.protocol,
                address: row.address,
                port_number: row.port_number,
                state: row.state.to_owned(),
            });
            let mut held: Vec<Told> = rows.collect();
            if wanted.len() != expected {
                return Err(format!(
                    "controls have {} rules at {}, not {expected}",
                    wanted.len(),
                    relay.name
                ));
            }
            wanted.sort_unstable();
            held.sort_unstable();
            if held != wanted {
                let stale = held.iter().find(|rule| wanted.binary_search(rule).is_err());
                let lost = wanted.iter().find(|rule| held.binary_search(rule).is_err());
                return Err(format!("{} holds {stale:?} in vain, and not {lost:?}", relay.name));
            }
            count += held.len();
        }
        Ok(count)
    }
}

fn add_rules(control: &Device, by_relay: &mut BTreeMap<String, Vec<Told>>) {
    let Some(Core::Control(core)) = &control.core else { return };
    for row in core.show_rules() {
        let told = Told {
            control: row.control,
            up_tunnel: row.up_tunnel,
            protocol: row.protocol,
            address: row.address,
            port_number: row.port_number,
            state: row.state,
        };
        match by_relay.get_mut(&row.relay) {
            Some(rules) => rules.push(told),
            None => _ = by_relay.insert(row.relay, vec![told]),
        }
    }
}
