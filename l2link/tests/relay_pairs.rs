//! Two relays that a control introduces to each other: when there is a session, and when there is none.

mod stations;

use frames::discovery::{Mode, Protection, Role};
use frames::session::CloseReason;
use frames::{BootId, DropReason, Mac};
use l2link::{Config, PeerState, Security};
use rstest::rstest;
use stations::{MS, SECOND, Segment, device, keys, private_key};

const SALT: [u8; 32] = [8; 32];
const OTHER_SALT: [u8; 32] = [9; 32];

#[rstest]
#[case::psk(device(0, 1))]
#[case::hidden(Config { control: Protection::ENCRYPTED, data: Protection::ENCRYPTED, ..device(0, 1) })]
#[case::keys(keyed_relay())]
#[case::keys_hidden(Config { control: Protection::ENCRYPTED, data: Protection::ENCRYPTED, ..keyed_relay() })]
#[case::open(Config { security: Security::None, ..device(0, 1) })]
fn introduced_relays_meet_at_once_whoever_hears_of_it_first(
    #[case] config: Config,
    #[values(0, 1)] first: usize,
) {
    let mut segment = strangers(&config);
    introduce(&mut segment, first, SALT);
    segment.run(30 * MS);
    introduce(&mut segment, 1 - first, SALT);
    segment.run(30 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
    for station in [0, 1] {
        let peers = segment.stations[station].link.peers();
        assert_eq!((peers[0].role, peers[0].state), (Role::Relay, PeerState::Up));
        assert_eq!(peers[0].name, name(1 - station));
        for parcel in [&[0; 60][..], &[0; 9000]] {
            segment.send_parcel(station, parcel).unwrap();
            assert_eq!(segment.parcels(1 - station), [parcel.to_vec()]);
        }
    }
}

#[test]
fn relays_that_nobody_introduced_have_nothing_to_say() {
    let mut segment = strangers(&device(0, 1));
    segment.run(10 * SECOND);
    introduce(&mut segment, 0, SALT);
    segment.run(10 * SECOND);
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec![]), "one side only");
    assert!(segment.stations[1].link.counters().dropped(DropReason::BadGate) > 0);
    introduce(&mut segment, 1, OTHER_SALT);
    segment.run(10 * SECOND);
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec![]), "another salt");
    introduce(&mut segment, 1, SALT);
    segment.run(3 * SECOND);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
}

#[test]
fn one_salt_in_common_is_enough() {
    let mut segment = strangers(&device(0, 1));
    let now = segment.now;
    segment.stations[0].link.introduce(&name(1), mac(1), None, &[OTHER_SALT, SALT], now);
    segment.stations[1].link.introduce(&name(0), mac(0), None, &[SALT, [7; 32]], now);
    segment.run(3 * SECOND);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
}

#[test]
fn the_psk_counts_besides_the_salt() {
    let mut segment = Segment::default();
    segment.add(device(0, 1));
    segment.add(Config { security: stations::psk(4), ..other(&device(0, 1)) });
    introduce(&mut segment, 0, SALT);
    introduce(&mut segment, 1, SALT);
    segment.run(10 * SECOND);
    assert!(!segment.told(0).contains(&"up".to_owned()));
    assert!(!segment.told(1).contains(&"up".to_owned()));
}

#[test]
fn in_mode_keys_the_key_counts_besides_the_salt() {
    let mut segment = strangers(&keyed_relay());
    introduce_key(&mut segment, 0, 22, SALT);
    introduce_key(&mut segment, 1, 20, SALT);
    segment.run(10 * SECOND);
    assert!(!segment.told(0).contains(&"up".to_owned()));
    assert!(!segment.told(1).contains(&"up".to_owned()));
    introduce_key(&mut segment, 0, 21, SALT);
    segment.run(3 * SECOND);
    assert!(segment.told(0).contains(&"up".to_owned()));
    // Another one is another relay.
    introduce_key(&mut segment, 0, 22, SALT);
    segment.run(3 * SECOND);
    let told = segment.told(0);
    assert!(told[0].starts_with("down: ") && !told.contains(&"up".to_owned()), "{told:?}");
}

#[test]
fn the_keys_of_one_pair_make_no_relay_of_another() {
    let mut segment = Segment::default();
    segment.add(device(0, 1));
    segment.add(Config { name: "relay9".into(), ..other(&device(0, 1)) });
    let now = segment.now;
    segment.stations[0].link.introduce("relay9", mac(1), None, &[OTHER_SALT], now);
    introduce(&mut segment, 0, SALT);
    introduce(&mut segment, 1, SALT);
    segment.run(3 * SECOND);
    assert!(segment.stations[0].link.counters().dropped(DropReason::BadHandshake) > 0);
    assert!(!segment.told(0).contains(&"up".to_owned()));
}

#[test]
fn an_introduction_is_answered_when_it_says_something_new() {
    let mut segment = strangers(&device(0, 1));
    let now = segment.now;
    let mut sent = |name: &str, mac, salt| {
        segment.stations[1].link.introduce(name, mac, None, &[salt], now);
        let sent = segment.flush(1);
        segment.wire.clear();
        sent
    };
    assert_eq!(sent(&name(1), mac(1), SALT), 0, "it is that relay itself");
    assert_eq!(sent(&name(0), mac(0), SALT), 1);
    assert_eq!(sent(&name(0), mac(0), SALT), 0);
    assert_eq!(sent(&name(0), mac(0), OTHER_SALT), 1);
    assert_eq!(sent(&name(0), Mac([2, 0, 0, 0, 7, 7]), OTHER_SALT), 1);
}

#[test]
fn in_mode_keys_an_introduction_without_a_key_counts_for_nothing() {
    let mut segment = strangers(&keyed_relay());
    for station in [0, 1] {
        let now = segment.now;
        segment.stations[station].link.introduce(&name(1 - station), mac(1 - station), None, &[SALT], now);
        assert_eq!(segment.flush(station), 0);
    }
}

#[test]
fn a_new_salt_and_a_new_address_leave_the_session_alone() {
    let mut segment = pair();
    for station in [0, 1] {
        let now = segment.now;
        let (name, mac) = (name(1 - station), Mac([2, 0, 0, 0, 7, 7]));
        segment.stations[station].link.introduce(&name, mac, None, &[OTHER_SALT], now);
        segment.run(SECOND);
    }
    // Past two rekeys, which run under the new one.
    segment.run(250 * SECOND);
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec![]));
    segment.send_parcel(0, &[0; 60]).unwrap();
    assert_eq!(segment.parcels(1).len(), 1);
}

#[test]
fn a_lost_relay_is_missed_in_time_and_met_again_without_a_control() {
    let mut segment = pair();
    segment.cut = true;
    segment.run(410 * MS);
    assert_eq!(
        (segment.told(0), segment.told(1)),
        (vec!["down: silent".to_owned()], vec!["down: silent".to_owned()])
    );
    segment.run(20 * SECOND);
    segment.cut = false;
    segment.run(2100 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
}

#[test]
fn a_dismissed_relay_is_gone_and_stays_away() {
    for first in [0, 1] {
        let mut segment = pair();
        let now = segment.now;
        segment.stations[first].link.dismiss(&name(1 - first), now);
        segment.run(10 * SECOND);
        let down = format!("down: {}", CloseReason::DISMISSED);
        assert_eq!((segment.told(0), segment.told(1)), (vec![down.clone()], vec![down]));
        assert_eq!(segment.stations[first].link.peers(), []);
        introduce(&mut segment, first, SALT);
        segment.run(3 * SECOND);
        assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
    }
}

#[test]
fn a_dismissal_ends_the_handshakes_with_that_relay_only() {
    let mut segment = strangers(&device(0, 1));
    let now = segment.now;
    let link = &mut segment.stations[0].link;
    for name in ["relay1", "relay2"] {
        link.introduce(name, mac(1), None, &[SALT], now);
    }
    link.dismiss("relay1", now);
    let attempts = link.snapshot().attempts;
    assert_eq!(attempts.iter().map(|attempt| attempt.name.as_str()).collect::<Vec<_>>(), ["relay2"]);
}

#[test]
fn no_salt_is_drawn_twice() {
    let mut segment = strangers(&device(0, 1));
    let link = &mut segment.stations[0].link;
    assert_ne!(link.draw_salt(), link.draw_salt());
}

#[test]
fn a_control_may_have_the_name_of_a_relay() {
    let mut segment = pair();
    segment.add(Config { name: name(1), boot: BootId(3), ..device(1, 3) });
    segment.run(50 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
    assert_eq!(segment.told(2), ["up", "up"]);
    let states = segment.stations[0].link.peers();
    assert_eq!(states.len(), 2);
    assert!(states.iter().all(|peer| peer.state == PeerState::Up && peer.name == name(1)));
}

fn up() -> Vec<String> {
    vec!["up".to_owned()]
}

fn name(station: usize) -> String {
    ["relay0", "relay1"][station].to_owned()
}

fn mac(station: usize) -> Mac {
    device(0, [1, 2][station]).mac
}

/// The second relay of a configuration's kind.
fn other(config: &Config) -> Config {
    let security = match &config.security {
        Security::Keys(_) => keys(21, None, &[]),
        other => other.clone(),
    };
    Config { name: name(1), boot: BootId(2), mac: mac(1), security, ..config.clone() }
}

/// Two relays that have heard each other.
fn strangers(config: &Config) -> Segment {
    let mut segment = Segment::default();
    segment.add(config.clone());
    segment.add(other(config));
    segment.run(3 * SECOND);
    assert_eq!((segment.told(0), segment.told(1)), (vec![], vec![]));
    segment
}

fn pair() -> Segment {
    let mut segment = strangers(&device(0, 1));
    introduce(&mut segment, 0, SALT);
    introduce(&mut segment, 1, SALT);
    segment.run(50 * MS);
    assert_eq!((segment.told(0), segment.told(1)), (up(), up()));
    segment
}

fn introduce(segment: &mut Segment, station: usize, salt: [u8; 32]) {
    introduce_key(segment, station, [20, 21][1 - station], salt);
}

/// The other relay is said to have this key.
fn introduce_key(segment: &mut Segment, station: usize, key: u8, salt: [u8; 32]) {
    let now = segment.now;
    let link = &mut segment.stations[station].link;
    let key = (link.mode() == Mode::KEYS).then(|| private_key(key).public());
    link.introduce(&name(1 - station), mac(1 - station), key, &[salt], now);
}

/// The first relay in mode keys, that knows no control.
fn keyed_relay() -> Config {
    Config { security: keys(20, None, &[]), ..device(0, 1) }
}
