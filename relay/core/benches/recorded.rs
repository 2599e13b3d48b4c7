//! What it costs that inputs can be recorded: `cargo bench -p relay-core --bench recorded`.
//!
//! The input is the cheapest that there is, so that whatever is added to it shows: a TCP segment for which there is no rule.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use criterion::{Criterion, criterion_group, criterion_main};
use frames::discovery::{Protection, Role};
use frames::message::{PortAddress, PortFlags};
use frames::{BootId, DropReason, Mac, PortId};
use l2link::recording::Sink;
use l2link::service::ServiceSet;
use l2link::{Batch, Config, Security, Time};
use relay_core::police::Limits;
use relay_core::{
    Beginning, Conflicts, FibConfig, PortConfig, PortState, PortVerdict, Recorded, RelayConfig, Unmatched,
};
use std::hint::black_box;

const PORT: PortId = PortId(1);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NOW: Time = Time(1_000_000);

/// Takes everything, and keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, bytes: &[u8]) -> bool {
        black_box(bytes);
        true
    }
}

fn beginning() -> Beginning {
    let port = PortConfig {
        interface: "eth1".into(),
        relay_services: ServiceSet::none(),
        unmatched: Unmatched::Drop,
        conflicts: Conflicts::Share,
        allow: Vec::new(),
    };
    Beginning {
        config: RelayConfig {
            name: "relay1".into(),
            ethertype: 0x88b5,
            ports: vec![port],
            limits: Limits::default(),
            fib: FibConfig::default(),
        },
        link: Config {
            name: "relay1".into(),
            role: Role::Relay,
            boot: BootId(1),
            mac: MAC,
            ethertype: 0x88b5,
            mtu: 1500,
            security: Security::None,
            control: Protection::CLEAR,
            data: Protection::CLEAR,
            keepalive: Duration::from_millis(100),
            missed: 3,
        },
        seed: [1; 32].into(),
        remembered: None,
        now: NOW,
    }
}

fn port_state() -> PortState {
    PortState {
        ifindex: 2,
        mac: MAC,
        mtu: 1500,
        speed: 0,
        flags: PortFlags::PRESENT | PortFlags::UP | PortFlags::CARRIER,
        addresses: vec![PortAddress::new(IpAddr::V4(ADDRESS), 24)],
        routes: Vec::new(),
    }
}

/// A parcel for TCP port 80.
fn parcel() -> Vec<u8> {
    let mut parcel = vec![0; 10];
    parcel.extend(MAC.0);
    parcel.extend([2, 0, 0, 0, 0, 9, 0x08, 0x00]);
    parcel.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 192, 0, 2, 9]);
    parcel.extend(ADDRESS.octets());
    parcel.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0]);
    parcel
}

fn inputs(criterion: &mut Criterion) {
    let parcel = parcel();
    let mut batch = Batch::new(256, 1514);
    let mut group = criterion.benchmark_group("a packet for nobody");
    let mut relay = beginning().relay();
    relay.handle_port_state(PORT, Some(port_state()));
    let arrival = relay.classify_port_parcel(PORT, &parcel);
    group.bench_function("a relay that cannot be recorded", |bencher| {
        bencher.iter(|| black_box(relay.handle_port_parcel(&arrival, &parcel, NOW, &mut batch)));
    });
    for (name, mut recorded) in [
        ("one that is not recorded", Recorded::from(beginning().relay())),
        ("one that is recorded", Recorded::begin(beginning(), Box::new(Nowhere), 0)),
    ] {
        recorded.handle_port_state(PORT, Some(port_state()));
        let arrival = recorded.classify_port_parcel(PORT, &parcel);
        let verdict = recorded.handle_port_parcel(&arrival, &parcel, NOW, &mut batch);
        assert_eq!(verdict, PortVerdict::Drop(DropReason::Unmatched));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(recorded.handle_port_parcel(&arrival, &parcel, NOW, &mut batch)));
        });
    }
    group.finish();
}

criterion_group!(benches, inputs);
criterion_main!(benches);
