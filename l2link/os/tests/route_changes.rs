//! Routes written to a kernel and read back, and what the kernel refuses.

mod lab;
mod routes_fixture;

use l2link_os::routes::{KernelNexthop, KernelRoute, PROTOCOL, RouteChange, RouteMonitor, RouteWriter};
use l2link_os::{IfIndex, NetNs};
use lab::{ip, settle, shell};
use routes_fixture::{FORMS, add, index, key, ours, refused_none, route, router};
use std::net::Ipv4Addr;

#[test]
fn every_form_survives_the_way_from_kernel_to_kernel() {
    let Some((netns, _other)) = router() else { return };
    for form in FORMS {
        add(&netns, form, "proto 108");
    }
    let routes = ours(&netns);
    assert_eq!(routes.len(), FORMS.len(), "{routes:?}");
    assert!(routes.iter().all(|route| route.unsupported.is_none()), "{routes:?}");
    let shown = show(&netns);

    let mut writer = RouteWriter::open(&netns).unwrap();
    let deletes: Vec<_> = routes.iter().map(|route| RouteChange::Delete(route.key, PROTOCOL)).collect();
    refused_none(writer.apply(&deletes).unwrap());
    assert_eq!(ours(&netns), []);
    let adds: Vec<_> = routes.iter().cloned().map(RouteChange::Add).collect();
    refused_none(writer.apply(&adds).unwrap());
    assert_eq!((ours(&netns), show(&netns)), (routes.clone(), shown.clone()));
    // And what is there already may be said again.
    let replaces: Vec<_> = routes.iter().cloned().map(RouteChange::Replace).collect();
    refused_none(writer.apply(&replaces).unwrap());
    assert_eq!((ours(&netns), show(&netns)), (routes, shown));
}

#[test]
fn refusals_are_told_by_item_and_the_rest_goes_on() {
    let Some((netns, _other)) = router() else { return };
    let eth0 = index(&netns, "eth0");
    ip(&netns, "route add 10.2.0.0/16 via 192.0.2.77 proto static");
    // More than fit into one send, so that refusals come from several.
    let mut changes: Vec<_> = (0..1_000_u32)
        .map(|number| {
            let prefix = Ipv4Addr::from(0x0b00_0000 + (number << 8));
            RouteChange::Add(route(prefix.into(), 24, eth0, "192.0.2.9"))
        })
        .collect();
    changes[0] = RouteChange::Add(route([10, 2, 0, 0].into(), 16, eth0, "192.0.2.9"));
    changes[500] = RouteChange::Add(route([10, 3, 0, 0].into(), 16, eth0, "203.0.113.9"));
    changes[700] = RouteChange::Delete(key([10, 4, 0, 0].into(), 16, 0), PROTOCOL);
    changes[800] = RouteChange::Add(route([10, 5, 0, 0].into(), 16, IfIndex(9_999), "192.0.2.9"));
    changes[999] = RouteChange::Delete(key([10, 2, 0, 0].into(), 16, 0), PROTOCOL);
    let mut writer = RouteWriter::open(&netns).unwrap();
    let failures = writer.apply(&changes).unwrap();
    let told: Vec<_> =
        failures.iter().map(|failure| (failure.index, failure.error.raw_os_error().unwrap())).collect();
    let expected = [
        (0, libc::EEXIST),
        (500, libc::ENETUNREACH),
        (700, libc::ESRCH),
        (800, libc::ENETUNREACH),
        (999, libc::ESRCH),
    ];
    assert_eq!(told, expected);
    assert!(failures[1].text.contains("gateway"), "the kernel's own words: {failures:?}");
    assert_eq!(ours(&netns).len(), 995);
    assert!(shell(&netns, "ip route show 10.2.0.0/16").contains("192.0.2.77"), "the foreign one stays");
}

/// An error of each of a whole batch: all of them fit into the receive buffer.
#[test]
fn a_batch_of_nothing_but_refusals_is_told_in_full() {
    let Some((netns, _other)) = router() else { return };
    let eth0 = index(&netns, "eth0");
    let changes: Vec<_> = (0..20_000_u32)
        .map(|number| {
            let prefix = Ipv4Addr::from(0x0b00_0000 + (number << 8));
            RouteChange::Add(route(prefix.into(), 24, eth0, "203.0.113.9"))
        })
        .collect();
    let failures = RouteWriter::open(&netns).unwrap().apply(&changes).unwrap();
    assert!(failures.iter().map(|failure| failure.index).eq(0..20_000));
    assert!(failures.iter().all(|failure| failure.error.raw_os_error() == Some(libc::ENETUNREACH)));
}

#[test]
fn a_foreign_route_of_the_same_key_is_not_deleted() {
    let Some((netns, _other)) = router() else { return };
    let eth0 = index(&netns, "eth0");
    for (prefix, length, metric) in [("10.1.0.0", 16, 20), ("2001:db8:f::", 48, 20)] {
        let key = key(prefix.parse().unwrap(), length, metric);
        let version = if key.prefix.address().is_ipv4() { "" } else { "-6" };
        let command = format!("{version} route add {prefix}/{length} dev eth0 metric {metric} proto static");
        ip(&netns, &command);
        let mut writer = RouteWriter::open(&netns).unwrap();
        let ours = KernelRoute { key, ..route(prefix.parse().unwrap(), length, eth0, "192.0.2.9") };
        let nexthops = vec![KernelNexthop { ifindex: eth0, gateway: None, weight: 1, onlink: false }];
        let failures = writer
            .apply(&[RouteChange::Add(KernelRoute { nexthops, ..ours }), RouteChange::Delete(key, PROTOCOL)])
            .unwrap();
        let errors: Vec<_> = failures.iter().map(|failure| failure.error.raw_os_error().unwrap()).collect();
        assert_eq!(errors, [libc::EEXIST, libc::ESRCH], "{command}");
        assert!(
            shell(&netns, &format!("ip {version} route show {prefix}/{length}")).contains("proto static")
        );
    }
}

/// A kernel assumption that owners of routes must know: metric 0 in a deletion stands for any.
#[test]
fn a_deletion_of_metric_zero_takes_a_route_of_another_metric() {
    let Some((netns, _other)) = router() else { return };
    add(&netns, "10.1.0.0/16 via 192.0.2.9 metric 20", "proto 108");
    add(&netns, "-6 2001:db8:f::/48 via 2001:db8:1::9 metric 20", "proto 108");
    let mut writer = RouteWriter::open(&netns).unwrap();
    let zero = |prefix: &str, length| RouteChange::Delete(key(prefix.parse().unwrap(), length, 0), PROTOCOL);
    refused_none(writer.apply(&[zero("10.1.0.0", 16), zero("2001:db8:f::", 48)]).unwrap());
    assert_eq!(ours(&netns), []);
    // With both there, the one of metric 0 goes.
    add(&netns, "10.1.0.0/16 via 192.0.2.9 metric 20", "proto 108");
    add(&netns, "10.1.0.0/16 via 192.0.2.9", "proto 108");
    refused_none(writer.apply(&[zero("10.1.0.0", 16)]).unwrap());
    assert!(matches!(ours(&netns).as_slice(), [route] if route.key.metric == 20));
}

#[test]
fn replacing_changes_the_number_of_ways_and_the_kind() {
    let Some((netns, _other)) = router() else { return };
    let mut writer = RouteWriter::open(&netns).unwrap();
    for prefix in ["10.1.0.0/16", "2001:db8:f::/48"] {
        let (v6, gateways) = match prefix.contains(':') {
            true => ("-6 ", ["2001:db8:1::9", "2001:db8:2::9", "2001:db8:1::8"]),
            false => ("", ["192.0.2.9", "198.51.100.9", "192.0.2.8"]),
        };
        let hop = |number: usize| format!("nexthop via {}", gateways[number]);
        let forms = [
            format!("{v6}{prefix} via {}", gateways[0]),
            format!("{v6}{prefix} {} {}", hop(0), hop(1)),
            format!("{v6}{prefix} {} {} {}", hop(2), hop(1), hop(0)),
            format!("{v6}{prefix} via {}", gateways[1]),
            format!("{v6}blackhole {prefix}"),
            format!("{v6}{prefix} {} {}", hop(1), hop(2)),
        ];
        let routes: Vec<_> = forms
            .iter()
            .map(|form| {
                add(&netns, form, "proto 108 metric 30");
                let route = ours(&netns).pop().unwrap();
                refused_none(writer.apply(&[RouteChange::Delete(route.key, PROTOCOL)]).unwrap());
                assert_eq!(ours(&netns), []);
                route
            })
            .collect();
        for from in &routes {
            for to in &routes {
                refused_none(writer.apply(&[RouteChange::Add(from.clone())]).unwrap());
                refused_none(writer.apply(&[RouteChange::Replace(to.clone())]).unwrap());
                assert_eq!(ours(&netns), std::slice::from_ref(to), "instead of {from:?}");
                refused_none(writer.apply(&[RouteChange::Delete(to.key, PROTOCOL)]).unwrap());
                assert_eq!(ours(&netns), []);
            }
        }
    }
}

#[test]
fn a_monitor_leaves_out_what_its_writer_does_and_nothing_else() {
    let Some((netns, _other)) = router() else { return };
    let eth0 = index(&netns, "eth0");
    let mut writer = RouteWriter::open(&netns).unwrap();
    let mut monitor = RouteMonitor::open(&netns).unwrap();
    let add = RouteChange::Add(route([10, 1, 0, 0].into(), 16, eth0, "192.0.2.9"));
    let delete = RouteChange::Delete(key([10, 1, 0, 0].into(), 16, 0), PROTOCOL);
    let mut events = |monitor: &mut RouteMonitor| {
        refused_none(writer.apply(&[add.clone(), delete.clone()]).unwrap());
        settle();
        std::iter::from_fn(|| monitor.next_event().unwrap()).count()
    };
    assert_eq!(events(&mut monitor), 2);
    let other = RouteWriter::open(&netns).unwrap();
    monitor.ignore(&other).unwrap();
    assert_eq!(events(&mut monitor), 2, "another writer is ignored");
    drop(other);
    let mut writer = RouteWriter::open(&netns).unwrap();
    monitor.ignore(&writer).unwrap();
    refused_none(writer.apply(&[add, delete]).unwrap());
    settle();
    assert_eq!(monitor.next_event().unwrap(), None);
    ip(&netns, "route add 10.2.0.0/16 via 192.0.2.9");
    settle();
    assert!(monitor.next_event().unwrap().is_some());
}

fn show(netns: &NetNs) -> String {
    shell(netns, "ip route show table all proto 108 | sort; ip -6 route show table all proto 108 | sort")
}
