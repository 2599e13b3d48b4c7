//! Whose a flow is when more than one may have it, or nobody is left.

use super::*;

fn tell(
    dispatch: &mut Dispatch,
    asked: &[(PeerId, UpTunnel, frames::RequestId)],
    flows: &BTreeMap<u32, Vec<PeerId>>,
) {
    for asked in asked {
        let told = flows.iter().filter(|(_, owners)| asked.1 == UpTunnel(1) && owners.contains(&asked.0));
        let told: Vec<_> = told.map(|(n, _)| LiveFlow::new(ends(*n).local, ends(*n).remote)).collect();
        let (first, second) = told.split_at(told.len() / 2);
        dispatch.report(*asked, first, false);
        dispatch.report(*asked, second, true);
    }
}

/// All that is asked is answered, in this order of the controls.
fn tell_all(dispatch: &mut Dispatch, order: [u32; 3], flows: &BTreeMap<u32, Vec<PeerId>>) {
    for _ in 0..10 {
        let mut requests = dispatch.take_requests();
        if requests.is_empty() {
            return;
        }
        requests.sort_by_key(|asked| order.iter().position(|peer| asked.0 == PeerId(*peer)));
        tell(dispatch, &requests, flows);
    }
    panic!("the same is asked again and again");
}

const ORDERS: [[u32; 3]; 6] = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];

/// Two controls tell every flow: the one that the packets go to has it, whatever the order of the reports, and however often
/// they come.
#[test]
fn a_stale_socket_takes_no_flow_away() {
    for order in ORDERS {
        let mut dispatch = with(&[1, 2]);
        let live = open_all(&mut dispatch, 0..1_000);
        let mut told: BTreeMap<u32, Vec<PeerId>> =
            live.keys().map(|n| (*n, vec![PeerId(1), PeerId(2)])).collect();
        dispatch.name(PeerId(3), "control3");
        let _ = dispatch.add(web(3));
        let new = open_all(&mut dispatch, 1_000..2_000);
        told.extend(new.keys().map(|n| (*n, vec![PeerId(1), PeerId(2), PeerId(3)])));
        let right = |dispatch: &mut Dispatch| {
            live.iter().chain(&new).all(|(n, peer)| followed(dispatch, *n).unwrap().peer == *peer)
        };
        assert!(right(&mut dispatch), "by the old table and pins");
        for round in 0..3 {
            tell_all(&mut dispatch, order, &told);
            assert!(right(&mut dispatch), "{order:?}, {round}");
            dispatch.handle_timeout(Time(0));
            let at = dispatch.poll_timeout().unwrap();
            dispatch.handle_timeout(at);
        }
    }
}

/// It was cut off, the others had its share, and it is back with its connections.
#[test]
fn a_flow_that_only_one_tells_is_its_own_whatever_the_table_says() {
    for order in ORDERS {
        let mut dispatch = with(&[1, 2, 3]);
        let live = open_all(&mut dispatch, 0..1_000);
        let told = live.iter().map(|(n, peer)| (*n, vec![*peer])).collect();
        let _ = dispatch.remove(PeerId(1), UpTunnel(1));
        tell_all(&mut dispatch, order, &told);
        let _ = dispatch.add(web(1));
        tell_all(&mut dispatch, order, &told);
        assert!(live.iter().all(|(n, peer)| followed(&mut dispatch, *n).unwrap().peer == *peer), "{order:?}");
        assert!(dispatch.services.contests_are_over());
    }
}

/// Without any memory there is only the table to decide.
#[test]
fn of_two_that_tell_a_flow_the_tables_has_it_while_nothing_else_is_known() {
    for order in ORDERS {
        let live = open_all(&mut with(&[1, 2]), 0..1_000);
        let told = live.keys().map(|n| (*n, vec![PeerId(1), PeerId(2)])).collect();
        let names = ["control1", "control2"].map(str::to_owned);
        let mut dispatch = Dispatch::new(&[], BTreeSet::from(names), draw());
        for peer in [1, 2] {
            dispatch.name(PeerId(peer), &format!("control{peer}"));
            let _ = dispatch.add(web(peer));
            dispatch.said_all(PeerId(peer), &format!("control{peer}"));
        }
        tell_all(&mut dispatch, order, &told);
        assert!(live.iter().all(|(n, peer)| followed(&mut dispatch, *n).unwrap().peer == *peer), "{order:?}");
    }
}

fn fall_silent(dispatch: &mut Dispatch, peer: u32, now: Time) {
    let held = dispatch.held(PeerId(peer));
    let _ = dispatch.remove_where(PeerId(peer), |_| true);
    dispatch.missed(PeerId(peer), held, now);
}

/// The segment is cut, and heals. Nobody's flows are given to whoever is back first.
#[test]
fn a_service_that_lost_all_its_servers_is_learned_anew() {
    let second = |n: u64| Time(n * 1_000_000);
    let mut dispatch = with(&[1, 2]);
    let live = open_all(&mut dispatch, 0..1_000);
    // Another service goes on.
    let _ = dispatch.add(rule(3, 1, listener(81)));
    dispatch.handle_timeout(second(0));
    fall_silent(&mut dispatch, 1, second(1));
    fall_silent(&mut dispatch, 2, second(1));
    // However long it takes.
    for n in 2..60 {
        dispatch.handle_timeout(second(n));
    }
    let _ = dispatch.add(web(1));
    let right = |dispatch: &mut Dispatch| {
        live.iter().all(|(n, peer)| followed(dispatch, *n).is_none_or(|target| target.peer == *peer))
    };
    assert!(right(&mut dispatch), "before anybody has told anything");
    let other = Ends { local: (v4(1), 81), remote: (v4(9), 40_000) };
    assert_eq!(dispatch.serve(PORT, 6, &other, false).map(|target| target.peer), Some(PeerId(3)));
    assert!(opened(&mut dispatch, 5_000).is_some(), "new flows are served at once");
    answer(&mut dispatch, &live);
    dispatch.said_all(PeerId(1), "control1");
    assert!(right(&mut dispatch), "the other one is not back yet");
    assert!(live.iter().any(|(n, _)| followed(&mut dispatch, *n).is_some()), "but this one's are served");
    let _ = dispatch.add(web(2));
    answer(&mut dispatch, &live);
    dispatch.said_all(PeerId(2), "control2");
    answer(&mut dispatch, &live);
    assert!(live.iter().all(|(n, peer)| followed(&mut dispatch, *n).unwrap().peer == *peer));
    assert!(dispatch.services.learning.is_none());
}

#[test]
fn who_never_comes_back_is_waited_for_a_moment_only() {
    for back in [Some(1), None] {
        let mut dispatch = with(&[1, 2]);
        let live = open_all(&mut dispatch, 0..1_000);
        fall_silent(&mut dispatch, 1, Time(0));
        fall_silent(&mut dispatch, 2, Time(0));
        if let Some(peer) = back {
            let _ = dispatch.add(web(peer));
            answer(&mut dispatch, &BTreeMap::new());
        }
        [0, 500_000].into_iter().for_each(|now| dispatch.handle_timeout(Time(now)));
        assert!(dispatch.services.learning.is_some());
        let at = dispatch.poll_timeout().unwrap();
        assert_eq!(at.0 / 1_000_000, if back.is_some() { 3 } else { 900 });
        dispatch.handle_timeout(at);
        assert!(dispatch.services.learning.is_none());
        assert_eq!(live.keys().all(|n| followed(&mut dispatch, *n).is_some()), back.is_some());
    }
}

#[test]
fn a_server_that_was_alone_is_served_at_once_when_it_is_back() {
    let mut dispatch = with(&[1]);
    let live = open_all(&mut dispatch, 0..10);
    fall_silent(&mut dispatch, 1, Time(0));
    let _ = dispatch.add(web(1));
    assert!(live.keys().all(|n| followed(&mut dispatch, *n).is_some()));
}

/// Its programs go on, and so they send before it has told anything.
#[test]
fn flows_of_a_control_that_is_back_go_to_nobody_else() {
    for order in ORDERS {
        let mut dispatch = with(&[1, 2, 3]);
        // Some flows are where a pin says.
        let mut live = open_all(&mut dispatch, 0..500);
        dispatch.name(PeerId(4), "control4");
        let _ = dispatch.add(web(4));
        answer(&mut dispatch, &live);
        live.extend(open_all(&mut dispatch, 500..1_000));
        assert!(dispatch.pinned() > 0);
        fall_silent(&mut dispatch, 1, Time(0));
        dispatch.handle_timeout(Time(500_000));
        assert!(live.keys().all(|n| followed(&mut dispatch, *n).unwrap().peer != PeerId(1)), "shared out");
        let new = open_all(&mut dispatch, 1_000..1_500);
        let right = |dispatch: &mut Dispatch| {
            let mut flows = live.iter().chain(&new);
            flows.all(|(n, peer)| followed(dispatch, *n).is_none_or(|target| target.peer == *peer))
        };
        dispatch.returns(PeerId(1), Time(0));
        assert!(right(&mut dispatch), "before its rules");
        assert!(
            live.iter()
                .filter(|(_, peer)| **peer != PeerId(1))
                .any(|(n, _)| followed(&mut dispatch, *n).is_some())
        );
        assert!(
            (1_500..2_000).all(|n| opened(&mut dispatch, n).is_some_and(|target| target.peer != PeerId(1)))
        );
        let _ = dispatch.add(web(1));
        assert!(right(&mut dispatch), "before its flows");
        dispatch.said_all(PeerId(1), "control1");
        assert!(right(&mut dispatch), "before its flows");
        let told = live.iter().chain(&new).map(|(n, peer)| (*n, vec![*peer])).collect();
        tell_all(&mut dispatch, order, &told);
        let mut flows = live.iter().chain(&new);
        assert!(flows.all(|(n, peer)| followed(&mut dispatch, *n).unwrap().peer == *peer), "{order:?}");
    }
}

/// What clients acknowledge of what its programs sent before is not given to the others, which would reset it.
#[test]
fn for_a_moment_nobody_has_the_flows_of_one_that_is_missed() {
    let mut dispatch = with(&[1, 2, 3]);
    let live = open_all(&mut dispatch, 0..1_000);
    fall_silent(&mut dispatch, 1, Time(0));
    let served = |dispatch: &mut Dispatch, n: u32| followed(dispatch, n).map(|target| target.peer);
    for now in [0, 499_999] {
        dispatch.handle_timeout(Time(now));
        for (n, peer) in &live {
            assert_eq!(served(&mut dispatch, *n), (*peer != PeerId(1)).then_some(*peer));
        }
    }
    assert!((2_000..3_000).all(|n| opened(&mut dispatch, n).is_some()), "new ones are served at once");
    assert_eq!(dispatch.poll_timeout(), Some(Time(500_000)));
    dispatch.handle_timeout(Time(500_000));
    assert!(live.keys().all(|n| served(&mut dispatch, *n).is_some_and(|peer| peer != PeerId(1))));
}

#[test]
fn who_is_back_and_tells_nothing_is_waited_for_a_moment_only() {
    let second = |n: u64| Time(n * 1_000_000);
    let mut dispatch = with(&[1, 2]);
    let live = open_all(&mut dispatch, 0..1_000);
    fall_silent(&mut dispatch, 1, second(0));
    dispatch.returns(PeerId(1), second(10));
    // Silent again meanwhile, it may have its flows still.
    fall_silent(&mut dispatch, 1, second(11));
    dispatch.handle_timeout(second(20));
    dispatch.returns(PeerId(1), second(21));
    let all = |dispatch: &mut Dispatch| live.keys().all(|n| followed(dispatch, *n).is_some());
    dispatch.handle_timeout(second(23));
    assert!(!all(&mut dispatch));
    dispatch.handle_timeout(second(24));
    assert!(all(&mut dispatch));
    // Without its rule, it has no flows either.
    fall_silent(&mut dispatch, 1, second(30));
    dispatch.returns(PeerId(1), second(31));
    dispatch.said_all(PeerId(1), "control1");
    assert!(all(&mut dispatch));
}
