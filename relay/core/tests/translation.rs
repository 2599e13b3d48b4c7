//! Address symbols: the relay's half of the translation.

mod segment;

use frames::data::Tunnel;
use frames::inet::{Obstacle, classify};
use frames::message::{
    Message, PortAddress, PortRequest, RuleAdd, Status, TranslatedRuleAdd, Translation, TranslationRequest,
};
use frames::protocol_address::{Family, Local};
use frames::{DropReason, Mac, PortId, ProtocolAddress, RequestId, SymbolId, UpTunnel};
use l2link::Batch;
use relay_core::{Action, PortState, PortVerdict};
use segment::{PORT, SYMBOL, Segment, ipv4, port_state, tcp, tcp_listener, udp_listener};
use std::net::IpAddr;
use std::time::Duration;

const CONTROL_ADDRESS: &str = "10.99.0.2";

fn translation(virtual_address: &str, control_address: &str) -> Translation {
    Translation {
        virtual_address: virtual_address.parse().unwrap(),
        control_address: control_address.parse().unwrap(),
    }
}

/// control1 with 192.0.2.1 as 10.99.0.2.
fn segment() -> Segment {
    let mut segment = Segment::new();
    segment.relay.handle_port_state(PORT, Some(port_state()));
    segment.join("control1");
    assert_eq!(ask(&mut segment, 0, translation("192.0.2.1", CONTROL_ADDRESS)), Status::OK);
    segment
}

fn ask(segment: &mut Segment, place: usize, translation: Translation) -> Status {
    let port = segment.controls[place].port.unwrap_or(PortId(9));
    let request = TranslationRequest { request: RequestId(3), symbol: SYMBOL, port, translation };
    segment.say(place, &Message::TranslationRequest(request));
    let reply = segment.controls[place].messages.last().unwrap();
    let status = reply.split("Status(").nth(1).unwrap().split(')').next().unwrap();
    Status(status.parse().unwrap())
}

fn rule(
    segment: &mut Segment,
    place: usize,
    tunnel: u32,
    address: ProtocolAddress,
    translation: Translation,
) -> Status {
    let rule = RuleAdd {
        request: RequestId(tunnel),
        symbol: SYMBOL,
        port: PORT,
        tunnel: UpTunnel(tunnel),
        weight: 1,
        protocol_address: address,
    };
    segment.say(place, &Message::TranslatedRuleAdd(TranslatedRuleAdd { rule, translation }));
    *segment.controls[place].statuses.last().unwrap()
}

/// A rule of control1, for the virtual address if it is for any.
fn local_rule(segment: &mut Segment, tunnel: u32, address: ProtocolAddress) -> Status {
    let local = Local::Address("192.0.2.1".parse().unwrap());
    let address = match address {
        ProtocolAddress::Listener { protocol, local: Local::Any(_), port } => {
            ProtocolAddress::Listener { protocol, local, port }
        }
        ProtocolAddress::IpProtocol { protocol, local: Local::Any(_) } => {
            ProtocolAddress::IpProtocol { protocol, local }
        }
        other => other,
    };
    rule(segment, 0, tunnel, address, translation("192.0.2.1", CONTROL_ADDRESS))
}

fn last_message(segment: &Segment, place: usize) -> &str {
    segment.controls[place].messages.last().unwrap()
}

/// Source and destination of a frame.
fn ends(frame: &[u8]) -> (String, String) {
    let text = classify(frame).unwrap().to_string();
    let (_, ip) = text.split_once(": ").unwrap();
    let address = |word: &str| word.rsplit_once(':').map_or(word, |(address, _)| address).to_owned();
    let words: Vec<&str> = ip.split_whitespace().collect();
    (address(words[0]), address(words[2]))
}

#[test]
fn packets_go_up_and_down_translated() {
    let mut segment = segment();
    assert_eq!(local_rule(&mut segment, 7, tcp_listener(80)), Status::OK);
    assert_eq!(segment.arrive(&tcp(40_000, 80)), PortVerdict::Sent);
    let [(tunnel, frame)] = &segment.controls[0].parcels[..] else { panic!("one packet") };
    assert_eq!(*tunnel, Tunnel(0));
    assert_eq!(ends(frame), ("192.0.2.9".into(), CONTROL_ADDRESS.into()));
    assert_eq!(segment.arrive(&tcp(40_000, 81)), PortVerdict::Drop(DropReason::Unmatched));

    let mut answer = tcp(80, 40_000);
    answer[26..34].copy_from_slice(&[10, 99, 0, 2, 192, 0, 2, 9]);
    segment.send_down(0, Tunnel(0), &answer);
    let [(outlet, packet)] = &segment.routed[..] else { panic!("one packet") };
    assert_eq!(outlet.source, "192.0.2.1".parse::<IpAddr>().unwrap());
    assert_eq!(packet[12..20], [192, 0, 2, 1, 192, 0, 2, 9]);
    assert!(segment.transmitted.is_empty());

    let rows = segment.relay.show_translations();
    let texts: Vec<_> =
        rows.iter().map(|row| format!("{} {} {} {}", row.table, row.from, row.to, row.packets)).collect();
    assert_eq!(texts, ["dispatch 192.0.2.1 10.99.0.2 1", "receive 10.99.0.2 192.0.2.1 1"]);
    assert!(segment.relay.show_tunnels().is_empty(), "no tunnels: {:?}", segment.relay.show_tunnels());
    assert_eq!(segment.relay.show_rules()[0].up_tunnel, 0);
}

#[test]
fn a_strangers_address_goes_nowhere() {
    let mut segment = segment();
    let place = segment.join("control2");
    let mut packet = tcp(80, 40_000);
    packet[26..30].copy_from_slice(&[10, 99, 0, 2]);
    segment.send_down(place, Tunnel(0), &packet);
    packet[26..30].copy_from_slice(&[10, 99, 0, 3]);
    segment.send_down(0, Tunnel(0), &packet);
    // To a group, the relay itself, its loopback, and what Linux takes for that.
    for destination in [[224, 0, 0, 5], [192, 0, 2, 1], [127, 0, 0, 1], [0, 0, 0, 0]] {
        packet[26..30].copy_from_slice(&[10, 99, 0, 2]);
        packet[30..34].copy_from_slice(&destination);
        segment.send_down(0, Tunnel(0), &packet);
    }
    assert!(segment.routed.is_empty());
    assert_eq!(segment.dropped(DropReason::NotTranslated), 6);
}

#[test]
fn fragments_follow_their_first_translated() {
    let mut segment = segment();
    assert_eq!(local_rule(&mut segment, 7, udp_listener(5_000)), Status::OK);
    let mut payload = vec![0; 1_480];
    payload[..8].copy_from_slice(&[0x30, 0x39, 0x13, 0x88, 0x0f, 0xa8, 0, 0]);
    // The later one comes first.
    assert_eq!(segment.arrive(&ipv4(17, 9, 1_480, false, &[5; 100])), PortVerdict::Held);
    assert_eq!(segment.arrive(&ipv4(17, 9, 0, true, &payload)), PortVerdict::Sent);
    assert_eq!(segment.controls[0].parcels.len(), 2);
    assert!(segment.controls[0].parcels.iter().all(|(_, frame)| frame[30..34] == [10, 99, 0, 2]));
}

#[test]
fn both_kinds_share_a_service() {
    let mut segment = segment();
    let place = segment.join("control2");
    assert_eq!(local_rule(&mut segment, 7, tcp_listener(80)), Status::OK);
    assert_eq!(segment.rule(place, 8, tcp_listener(80)), Status::OK);
    for port in 0..200 {
        assert_eq!(segment.arrive(&tcp(40_000 + port, 80)), PortVerdict::Sent);
    }
    let shares = [segment.controls[0].parcels.len(), segment.controls[place].parcels.len()];
    assert!(shares.iter().all(|share| *share > 50), "{shares:?}");
    assert!(segment.controls[0].parcels.iter().all(|(tunnel, _)| *tunnel == Tunnel(0)));
    assert!(segment.controls[place].parcels.iter().all(|(tunnel, _)| *tunnel == Tunnel(8)));
}

#[test]
fn only_packets_to_the_virtual_address_are_taken() {
    let mut segment = segment();
    let more = PortAddress::new("192.0.2.77".parse().unwrap(), 24);
    let mut state = port_state();
    state.addresses.push(more);
    segment.relay.handle_port_state(PORT, Some(state));
    assert_eq!(local_rule(&mut segment, 7, tcp_listener(80)), Status::OK);
    let raw = ProtocolAddress::IpProtocol { protocol: 89, local: Local::Any(Family::V4) };
    assert_eq!(local_rule(&mut segment, 8, raw), Status::OK);
    let to = |mut frame: Vec<u8>| {
        frame[33] = 77;
        frame
    };
    assert_eq!(segment.arrive(&to(tcp(40_000, 80))), PortVerdict::Drop(DropReason::Unmatched));
    assert_eq!(
        segment.arrive(&to(ipv4(89, 1, 0, false, &[0; 20]))),
        PortVerdict::Drop(DropReason::Unmatched)
    );
    assert_eq!(segment.arrive(&ipv4(89, 1, 0, false, &[0; 20])), PortVerdict::Sent);
    // Another control's interface symbol gets what this one leaves.
    let place = segment.join("control2");
    assert_eq!(segment.rule(place, 8, tcp_listener(80)), Status::OK);
    for port in 0..50 {
        assert_eq!(segment.arrive(&to(tcp(40_000 + port, 80))), PortVerdict::Sent);
    }
    assert_eq!(segment.controls[place].parcels.len(), 50);
}

#[test]
fn rules_of_other_addresses_are_refused() {
    let mut segment = segment();
    let at = |address: &str| ProtocolAddress::Listener {
        protocol: 6,
        local: Local::Address(address.parse().unwrap()),
        port: 80,
    };
    assert_eq!(local_rule(&mut segment, 1, at("192.0.2.1")), Status::OK);
    assert_eq!(local_rule(&mut segment, 2, at("192.0.2.2")), Status::BAD_REQUEST);
    assert_eq!(local_rule(&mut segment, 3, ProtocolAddress::EtherType(0x0806)), Status::BAD_REQUEST);
    assert_eq!(local_rule(&mut segment, 4, tcp_listener(22)), Status::RESERVED);
    let mine = translation("192.0.2.1", CONTROL_ADDRESS);
    assert_eq!(rule(&mut segment, 0, 6, tcp_listener(80), mine), Status::BAD_REQUEST, "for any address");
    let other = translation("192.0.2.1", "10.99.0.9");
    assert_eq!(rule(&mut segment, 0, 5, tcp_listener(80), other), Status::BAD_REQUEST);
}

#[test]
fn what_cannot_be_translated_is_refused_with_a_reason() {
    let mut segment = Segment::new();
    segment.relay.handle_port_state(PORT, Some(port_state()));
    for (virtual_address, control_address, status, words) in [
        ("192.0.2.99", CONTROL_ADDRESS, Status::NO_SUCH_ADDRESS, "192.0.2.99; it has 192.0.2.1, 2001:db8::1"),
        ("2001:db8::9", "fd00::2", Status::NO_SUCH_ADDRESS, "2001:db8::9"),
        ("192.0.2.1", "192.0.2.1", Status::BAD_REQUEST, "192.0.2.1"),
        ("192.0.2.1", "224.0.0.9", Status::BAD_REQUEST, "224.0.0.9"),
        ("192.0.2.1", "0.0.0.0", Status::BAD_REQUEST, "0.0.0.0"),
        ("fe80::1", "fd00::2", Status::BAD_REQUEST, "fe80::1"),
    ] {
        if segment.controls.is_empty() {
            segment.join("control1");
        } else {
            segment.ask(0);
        }
        assert_eq!(ask(&mut segment, 0, translation(virtual_address, control_address)), status);
        assert!(last_message(&segment, 0).contains(words), "{}", last_message(&segment, 0));
        let row = segment.relay.show_symbols().pop().unwrap();
        assert_eq!(row.state, "refused");
        assert!(row.reason.unwrap().contains(words));
    }
}

#[test]
fn a_control_hears_when_the_port_has_an_address_that_it_lacked() {
    let mut segment = Segment::new();
    segment.relay.handle_port_state(PORT, Some(port_state()));
    let lacking = segment.join("control1");
    let served = segment.join("control2");
    let wanted = translation("192.0.2.99", CONTROL_ADDRESS);
    assert_eq!(ask(&mut segment, lacking, wanted), Status::NO_SUCH_ADDRESS);
    assert_eq!(ask(&mut segment, served, translation("192.0.2.1", "10.99.0.3")), Status::OK);
    let notices = |segment: &Segment, place: usize| {
        segment.controls[place].messages.iter().filter(|message| message.starts_with("Notice")).count()
    };
    let mut state = port_state();
    state.mtu = 1400;
    segment.relay.handle_port_state(PORT, Some(state.clone()));
    segment.pass(Duration::from_millis(1));
    assert_eq!(notices(&segment, lacking), 0, "no address came");
    state.addresses.push(PortAddress::new("192.0.2.99".parse().unwrap(), 24));
    segment.relay.handle_port_state(PORT, Some(state));
    segment.pass(Duration::from_millis(1));
    assert_eq!((notices(&segment, lacking), notices(&segment, served)), (1, 0));
    segment.ask(lacking);
    assert_eq!(ask(&mut segment, lacking, wanted), Status::OK);
}

#[test]
fn an_address_on_the_segment_is_one_symbols() {
    let mut segment = segment();
    let place = segment.join("control2");
    assert_eq!(ask(&mut segment, place, translation("192.0.2.1", CONTROL_ADDRESS)), Status::CONFLICT);
    assert!(last_message(&segment, place).contains("control1"), "{}", last_message(&segment, place));
    segment.ask(place);
    assert_eq!(ask(&mut segment, place, translation("192.0.2.1", "10.99.0.3")), Status::OK, "shared");
    assert_eq!(segment.relay.show_translations().len(), 2);
}

#[test]
fn a_virtual_address_is_claimed_once_by_each_control() {
    let mut segment = segment();
    let ask_as = |segment: &mut Segment, symbol: SymbolId, control_address: &str| {
        segment.say(0, &Message::PortRequest(PortRequest { request: RequestId(8), symbol, name: "eth1" }));
        let translation = translation("192.0.2.1", control_address);
        let request = TranslationRequest { request: RequestId(9), symbol, port: PORT, translation };
        segment.say(0, &Message::TranslationRequest(request));
        last_message(segment, 0).to_owned()
    };
    let refused = ask_as(&mut segment, SymbolId(2), "10.99.0.3");
    assert!(refused.contains("Status(5)") && refused.contains("symbol 1 of control control1"), "{refused}");
    assert_eq!(segment.relay.show_translations().len(), 1, "the first goes on");
    // After a restart the same symbol may have another number.
    segment.restart(0, "control1", 77);
    let granted = ask_as(&mut segment, SymbolId(2), CONTROL_ADDRESS);
    assert!(granted.contains("Status(0)"), "{granted}");
}

#[test]
fn a_control_that_goes_takes_its_translation_along() {
    let mut segment = segment();
    assert_eq!(local_rule(&mut segment, 7, tcp_listener(80)), Status::OK);
    segment.close(0);
    assert!(segment.relay.show_translations().is_empty());
    assert!(segment.actions.contains(&Action::ForgetSource("192.0.2.1".parse().unwrap())));
}

#[test]
fn a_restarted_control_is_served_at_once() {
    let mut segment = segment();
    assert_eq!(local_rule(&mut segment, 7, tcp_listener(80)), Status::OK);
    segment.restart(0, "control1", 77);
    assert_eq!(segment.relay.show_translations().len(), 2, "in force until RULES_END");
    segment.ask(0);
    assert_eq!(ask(&mut segment, 0, translation("192.0.2.1", CONTROL_ADDRESS)), Status::OK);
    segment.say(0, &Message::RulesEnd);
    assert_eq!(segment.relay.show_translations().len(), 1, "the rule was not asked for again");
}

#[test]
fn a_virtual_address_that_is_lost_rests() {
    let mut segment = segment();
    let mut answer = tcp(80, 40_000);
    answer[26..34].copy_from_slice(&[10, 99, 0, 2, 192, 0, 2, 9]);
    segment.relay.handle_port_state(PORT, Some(PortState { addresses: Vec::new(), ..port_state() }));
    segment.send_down(0, Tunnel(0), &answer);
    assert_eq!(segment.dropped(DropReason::NotTranslated), 1);
    segment.relay.handle_port_state(PORT, Some(port_state()));
    segment.send_down(0, Tunnel(0), &answer);
    assert_eq!(segment.routed.len(), 1);
}

#[test]
fn a_packet_that_does_not_fit_its_way_is_answered() {
    let mut segment = segment();
    let mut large = ipv4(17, 1, 0, false, &[7; 1_400]);
    large[26..34].copy_from_slice(&[10, 99, 0, 2, 203, 0, 113, 9]);
    segment.send_down(0, Tunnel(0), &large);
    let (outlet, packet) = segment.routed.pop().unwrap();
    let mut batch = Batch::new(8, segment.relay.frame_len_max());
    let obstacle = Obstacle::TooBig(1_280);
    let told = segment.relay.handle_obstacle(&outlet, &packet, obstacle, segment.now, &mut batch);
    assert_eq!(told, PortVerdict::Sent);
    segment.receive(&batch);
    let (tunnel, frame) = segment.controls[0].parcels.pop().unwrap();
    assert_eq!(tunnel, Tunnel(0));
    assert_eq!(Mac(frame[..6].try_into().unwrap()), port_state().mac);
    let text = classify(&frame).unwrap().to_string();
    assert!(text.contains("203.0.113.9 > 10.99.0.2 icmp error about 10.99.0.2:"), "{text}");
    assert_eq!(frame[14 + 20 + 6..14 + 20 + 8], [0x05, 0x00], "the MTU");
}

#[test]
fn errors_of_the_relays_own_kernel_go_up() {
    let mut segment = segment();
    assert_eq!(local_rule(&mut segment, 7, tcp_listener(80)), Status::OK);
    let mut about = tcp(80, 40_000)[14..].to_vec();
    about[12..20].copy_from_slice(&[192, 0, 2, 1, 192, 0, 2, 99]);
    let error = ipv4(1, 1, 0, false, &[&[3, 1, 0, 0, 0, 0, 0, 0][..], &about].concat());
    let mut batch = Batch::new(8, segment.relay.frame_len_max());
    let mut say = |source: [u8; 4]| {
        let mut packet = error[14..].to_vec();
        packet[12..16].copy_from_slice(&source);
        segment.relay.handle_own_error(PORT, &packet, segment.now, &mut batch)
    };
    // What others say comes by the port.
    assert_eq!(say([203, 0, 113, 9]), PortVerdict::Drop(DropReason::NotForPort));
    assert_eq!(say([192, 0, 2, 1]), PortVerdict::Sent);
    segment.receive(&batch);
    let (tunnel, frame) = segment.controls[0].parcels.pop().unwrap();
    let text = classify(&frame).unwrap().to_string();
    assert_eq!(tunnel, Tunnel(0));
    assert!(text.contains("> 10.99.0.2 icmp error about 10.99.0.2:80 > 192.0.2.99:40000"), "{text}");
}
