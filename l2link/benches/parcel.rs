//! The data path of the link: what a parcel costs to send, and to send and receive, in each protection.
//!
//! One iteration is one parcel: 64 bytes and 1,500 bytes of Ethernet frame as one or two link frames, 64 KiB as 46
//! pieces of MTU 1,500. The difference of the two groups is the receiver's share.

use core::hint::black_box;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use frames::data::Tunnel;
use frames::discovery::{Protection, Role};
use frames::{BootId, Mac};
use l2link::{Batch, Config, Link, PeerId, Rx, Security, Time};

criterion_group!(benches, parcels);
criterion_main!(benches);

const LENGTHS: [usize; 3] = [64, 1500, 65_536];

fn parcels(criterion: &mut Criterion) {
    let protections =
        [("clear", Protection::CLEAR), ("sealed", Protection::SEALED), ("encrypted", Protection::ENCRYPTED)];
    for (name, protection) in protections {
        for length in LENGTHS {
            let (mut relay, mut control, now) = pair(protection);
            let mut batch = Batch::new(relay.parcel_frames_max(), relay.frame_len_max());
            let parcel = vec![0; length];
            let mut group = criterion.benchmark_group("send");
            group.throughput(Throughput::Bytes(length as u64));
            group.bench_function(BenchmarkId::new(name, length), |bencher| {
                bencher.iter(|| {
                    relay.send_parcel(PeerId(0), Tunnel(1), black_box(&parcel), &mut batch, now).unwrap();
                    batch.clear();
                });
            });
            group.finish();
            let mut group = criterion.benchmark_group("send and receive");
            group.throughput(Throughput::Bytes(length as u64));
            let mut frame = vec![0; relay.frame_len_max()];
            group.bench_function(BenchmarkId::new(name, length), |bencher| {
                bencher.iter(|| {
                    relay.send_parcel(PeerId(0), Tunnel(1), black_box(&parcel), &mut batch, now).unwrap();
                    let mut whole = 0;
                    for sent in batch.frames() {
                        let frame = &mut frame[..sent.len()];
                        frame.copy_from_slice(sent);
                        if let Rx::Parcel { parcel, .. } = control.handle_frame(frame, now) {
                            whole += parcel.len();
                        }
                    }
                    assert_eq!(whole, length);
                    batch.clear();
                });
            });
            group.finish();
        }
    }
}

/// A relay and a control that have met.
fn pair(data: Protection) -> (Link, Link, Time) {
    let device = |role, mac: u8| {
        let config = Config {
            name: format!("{role}"),
            role,
            boot: BootId(mac.into()),
            mac: Mac([2, 0, 0, 0, 0, mac]),
            ethertype: 0x88b5,
            mtu: 1500,
            security: Security::Psk([1; 32].into()),
            control: Protection::SEALED,
            data,
            keepalive: Config::KEEPALIVE,
            missed: Config::MISSED,
        };
        Link::new(config, [mac; 32], Time(1))
    };
    let mut links = [device(Role::Relay, 1), device(Role::Control, 2)];
    let mut batch = Batch::new(16, links[0].frame_len_max());
    for step in 0..20 {
        let (from, to) = (step % 2, 1 - step % 2);
        links[from].poll_transmit(&mut batch, Time(1));
        for frame in batch.frames() {
            let _handled = links[to].handle_frame(&mut frame.to_vec(), Time(1));
        }
        batch.clear();
    }
    let [relay, control] = links;
    (relay, control, Time(1))
}
