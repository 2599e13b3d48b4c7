//! A full table on its way: what a route message costs in the link, from the sender's queue to the receiver's owner and
//! back as acknowledgement, both ends together, and what it costs to tell whether its content is known.
//!
//! One iteration is 1,000 routes, sealed, MTU 1,500.

use core::hint::black_box;
use core::net::IpAddr;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use frames::discovery::{Protection, Role};
use frames::message::{Message, RouteAdd, RouteNexthop};
use frames::route::{Prefix, RouteContent, RouteKey, RouteKind, TableDigest};
use frames::session::Stream;
use frames::{BootId, Mac, PortId, RequestId};
use l2link::routes::Contents;
use l2link::{Batch, Config, Event, Link, PeerId, Security, Time};

criterion_group!(benches, stream, contents);
criterion_main!(benches);

const ROUTES: u32 = 1000;

fn key(number: u32) -> RouteKey {
    let address = IpAddr::V4((number << 8).into());
    let prefix = Prefix::new(address, 24).expect("no longer than 32 bits");
    RouteKey { table: RouteKey::MAIN, prefix, metric: 20 }
}

fn nexthop(port: u32) -> RouteNexthop {
    RouteNexthop::new(PortId(port), Some([192, 0, 2, 1].into()), 1, false)
}

fn stream(criterion: &mut Criterion) {
    let [mut relay, mut control] = pair();
    let mut batch = Batch::new(64, relay.frame_len_max());
    let mut frame = vec![0; relay.frame_len_max()];
    let nexthops = [nexthop(1)];
    let content = RouteContent { kind: RouteKind::Unicast, mtu: 0, nexthops: &nexthops };
    let mut group = criterion.benchmark_group("routes");
    group.throughput(Throughput::Elements(ROUTES.into()));
    group.bench_function("send and receive", |bencher| {
        bencher.iter(|| {
            for number in 0..ROUTES {
                let add = RouteAdd { request: RequestId(number), key: key(number), content };
                control.send_message(PeerId(0), &Message::RouteAdd(black_box(add)));
            }
            let mut received = 0;
            while control.backlog(PeerId(0), Stream::Routes) > 0 {
                pass(&mut control, &mut relay, &mut batch, &mut frame);
                received += core::iter::from_fn(|| relay.poll_event())
                    .filter(|event| matches!(event, Event::Message { message, .. } if Message::parse(&message.raw()).is_ok()))
                    .count();
                pass(&mut relay, &mut control, &mut batch, &mut frame);
            }
            assert_eq!(received, ROUTES as usize);
        });
    });
    group.finish();
}

fn contents(criterion: &mut Criterion) {
    let nexthops: Vec<[RouteNexthop; 1]> = (1..=300).map(|port| [nexthop(port)]).collect();
    let unicast = |nexthops| RouteContent { kind: RouteKind::Unicast, mtu: 0, nexthops };
    let mut group = criterion.benchmark_group("routes");
    group.throughput(Throughput::Elements(ROUTES.into()));
    for (name, distinct) in [("intern the same", 1), ("intern of 300 in turn", 300)] {
        let mut contents = Contents::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let ids = nexthops[..distinct].iter().cycle().take(ROUTES as usize);
                let ids: Vec<_> =
                    ids.map(|nexthops| contents.intern(&unicast(black_box(nexthops)))).collect();
                ids.into_iter().for_each(|id| contents.release(id));
            });
        });
    }
    let content = unicast(&nexthops[0]);
    group.bench_function("digest", |bencher| {
        bencher.iter(|| {
            let mut table = TableDigest::default();
            for number in 0..ROUTES {
                table += TableDigest::of(&black_box(key(number)), &content);
            }
            table
        });
    });
    group.finish();
}

/// Hands all frames that wait from one end to the other.
fn pass(from: &mut Link, to: &mut Link, batch: &mut Batch, frame: &mut [u8]) {
    while from.poll_transmit(batch, Time(1)) | !batch.is_empty() {
        for sent in batch.frames() {
            let frame = &mut frame[..sent.len()];
            frame.copy_from_slice(sent);
            let _consumed = to.handle_frame(frame, Time(1));
        }
        batch.clear();
    }
}

/// A relay and a control that have met.
fn pair() -> [Link; 2] {
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
            data: Protection::SEALED,
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
    links.iter_mut().for_each(|link| core::iter::from_fn(|| link.poll_event()).for_each(drop));
    links
}
