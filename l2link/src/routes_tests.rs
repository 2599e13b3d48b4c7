use super::*;
use frames::PortId;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn nexthop(port: u32) -> RouteNexthop {
    RouteNexthop::new(PortId(port), Some([10, 0, 0, 1].into()), 1, false)
}

fn unicast(nexthops: &[RouteNexthop]) -> RouteContent<'_> {
    RouteContent { kind: RouteKind::Unicast, mtu: 0, nexthops }
}

#[test]
fn equal_contents_are_kept_once() {
    let (mut contents, one, two) = (Contents::default(), [nexthop(1)], [nexthop(2)]);
    assert!(contents.is_empty());
    let first = contents.intern(&unicast(&one));
    assert!(!contents.is_empty());
    let other = contents.intern(&unicast(&two));
    assert_ne!(first, other);
    assert_eq!(contents.intern(&unicast(&one)), first);
    assert_eq!(contents.intern(&unicast(&one)), first);
    assert_eq!((contents.len(), contents.get(other)), (2, unicast(&two)));
    let blackhole = RouteContent { kind: RouteKind::Blackhole, mtu: 0, nexthops: &[] };
    let narrow = RouteContent { mtu: 1400, ..unicast(&one) };
    assert_ne!(contents.intern(&blackhole), contents.intern(&narrow));
    assert_eq!(contents.len(), 4);
}

#[test]
fn a_content_goes_with_its_last_use_and_leaves_its_place() {
    let (mut contents, one, two) = (Contents::default(), [nexthop(1)], [nexthop(2)]);
    let first = contents.intern(&unicast(&one));
    contents.retain(first);
    contents.release(first);
    assert_eq!(contents.get(first), unicast(&one));
    contents.release(first);
    assert!(contents.is_empty());
    assert_eq!(contents.intern(&unicast(&two)), first, "the place is used again");
    assert_eq!(contents.get(first), unicast(&two));
    let one = contents.intern(&unicast(&one));
    assert_ne!(one, first, "nothing is left of what had the place before");
}

#[test]
fn a_content_without_nexthops_goes_as_any_other() {
    let mut contents = Contents::default();
    let blackhole = RouteContent { kind: RouteKind::Blackhole, mtu: 0, nexthops: &[] };
    let id = contents.intern(&blackhole);
    contents.release(id);
    let again = contents.intern(&blackhole);
    assert_eq!((contents.len(), contents.get(again)), (1, blackhole));
}

proptest! {
    /// Against a plain count of uses for each content, with twelve contents of four hashes.
    #[test]
    fn counts_as_a_map_does(steps in proptest::collection::vec((0_u8..3, 0_u32..12), 0..300)) {
        let mut contents = Contents::default();
        let mut model: BTreeMap<u32, (ContentId, u32)> = BTreeMap::new();
        for (step, port) in steps {
            match (step, model.get_mut(&port)) {
                (0, None) => {
                    let id = contents.intern(&unicast(&[nexthop(port)]));
                    prop_assert!(model.values().all(|(other, _)| *other != id));
                    model.insert(port, (id, 1));
                }
                (0, Some((id, uses))) => {
                    prop_assert_eq!(contents.intern(&unicast(&[nexthop(port)])), *id);
                    *uses += 1;
                }
                (1, Some((id, uses))) => {
                    contents.retain(*id);
                    *uses += 1;
                }
                (_, Some((id, uses))) => {
                    contents.release(*id);
                    *uses -= 1;
                }
                (_, None) => {}
            }
            model.retain(|_, (_, uses)| *uses > 0);
            prop_assert_eq!(contents.len(), model.len());
            for (port, (id, uses)) in &model {
                let nexthops = [nexthop(*port)];
                prop_assert_eq!(contents.get(*id), unicast(&nexthops));
                prop_assert_eq!(contents.places[*id].uses, *uses);
            }
            prop_assert_eq!(contents.by_hash.is_empty(), model.is_empty());
        }
    }
}
