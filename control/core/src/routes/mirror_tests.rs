use super::*;
use frames::route::{Prefix, RouteKind};

const STATIC: u8 = 4;

fn key(prefix: &str, length: u8) -> RouteKey {
    let prefix = Prefix::new(prefix.parse().unwrap(), length).unwrap();
    RouteKey { table: RouteKey::MAIN, prefix, metric: 0 }
}

fn content(kind: RouteKind) -> RouteContent<'static> {
    RouteContent { kind, mtu: 0, nexthops: &[] }
}

fn set(mirror: &mut Mirror, key: RouteKey, kind: RouteKind, teller: Teller) -> bool {
    mirror.set(key, &content(kind), STATIC, teller)
}

fn kind(mirror: &Mirror, key: &RouteKey) -> Option<RouteKind> {
    mirror.get(key).map(|(_, content)| content.kind)
}

#[test]
fn a_dump_sweeps_its_own_family_at_its_end_only() {
    let (mut mirror, four, other, six) =
        (Mirror::default(), key("10.0.0.0", 8), key("11.0.0.0", 8), key("2001:db8::", 32));
    for key in [four, other, six] {
        assert!(set(&mut mirror, key, RouteKind::Blackhole, Teller::Event));
    }
    mirror.begin(Family::V4);
    assert!(!set(&mut mirror, four, RouteKind::Blackhole, Teller::Dump), "no news");
    assert_eq!(mirror.len(), 3, "nothing goes before the end");
    assert_eq!(mirror.end(Family::V4), [other]);
    assert_eq!(mirror.keys_behind(None).collect::<Vec<_>>(), [&four, &six]);
    assert!(!mirror.is_complete());
    mirror.begin(Family::V6);
    assert_eq!(mirror.end(Family::V6), [six]);
    assert!(mirror.is_complete());
}

#[test]
fn events_go_before_the_dump_that_runs() {
    let (mut mirror, changed, gone, back) =
        (Mirror::default(), key("10.0.0.0", 8), key("11.0.0.0", 8), key("12.0.0.0", 8));
    for key in [changed, gone, back] {
        set(&mut mirror, key, RouteKind::Blackhole, Teller::Event);
    }
    mirror.begin(Family::V4);
    assert!(set(&mut mirror, changed, RouteKind::Prohibit, Teller::Event));
    assert!(mirror.remove(&gone) && mirror.remove(&back));
    assert!(set(&mut mirror, back, RouteKind::Unreachable, Teller::Event));
    for key in [changed, gone, back] {
        assert!(!set(&mut mirror, key, RouteKind::Blackhole, Teller::Dump), "older than the event: {key}");
    }
    assert!(mirror.end(Family::V4).is_empty());
    assert_eq!(kind(&mirror, &changed), Some(RouteKind::Prohibit));
    assert_eq!(kind(&mirror, &gone), None);
    assert_eq!(kind(&mirror, &back), Some(RouteKind::Unreachable));
    mirror.begin(Family::V4);
    assert!(set(&mut mirror, changed, RouteKind::Blackhole, Teller::Dump), "the next dump is newer");
}

#[test]
fn a_dump_that_begins_again_sweeps_what_only_the_first_saw() {
    let (mut mirror, route) = (Mirror::default(), key("10.0.0.0", 8));
    mirror.begin(Family::V4);
    set(&mut mirror, route, RouteKind::Blackhole, Teller::Dump);
    mirror.begin(Family::V4);
    assert_eq!(mirror.end(Family::V4), [route]);
    assert!(mirror.contents.is_empty(), "its content went with it");
    assert!(mirror.end(Family::V4).is_empty(), "no dump runs");
}
