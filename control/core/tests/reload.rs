//! Given a control and a relay, another configuration on either side, and what follows.

mod world;

use control_core::seen::OpenSocket;
use control_core::{Exposure, SymbolConfig, Weight};
use core::time::Duration;
use frames::message::{Message, Notice, PortReply, RuleReply, Status};
use frames::{PortId, RequestId};
use l2link::rule_text::RuleText;
use l2link::service::ServiceSet;
use world::{SYMBOL, World};

const ARP: &str = "ethertype 0x0806 active";

fn serving(services: &[&str]) -> World {
    let mut world = World::up();
    for service in services {
        let address = service.parse::<RuleText>().unwrap().0;
        world.sockets.push(OpenSocket { address, interface: None });
    }
    world.hint();
    world.relay.heard.clear();
    world
}

fn config() -> SymbolConfig {
    SymbolConfig {
        relay: "relay1".into(),
        port: "eth1".into(),
        name: "eth1".into(),
        netns: Some("router".into()),
        exposure: Exposure::standard(false),
        translation: None,
        files: None,
        weight: Weight::default(),
        detect: true,
    }
}

fn change(world: &mut World, config: SymbolConfig) {
    world.control.change_symbol(SYMBOL, config, world.now);
    world.settle();
    world.run(Duration::from_secs(3));
}

#[test]
fn a_symbol_changes_without_being_made_anew() {
    let mut world = serving(&["tcp/80", "udp/53"]);
    world.actions.clear();
    change(&mut world, config());
    assert_eq!(world.relay.heard, Vec::<String>::new(), "nothing differs");
    change(&mut world, SymbolConfig { weight: Weight::Fixed(7), ..config() });
    assert_eq!(world.relay.heard, ["add tcp *:80", "add udp *:53"], "with another weight");
    let only = Exposure::only(ServiceSet::parse(&["udp/*"]).unwrap());
    change(&mut world, SymbolConfig { exposure: only, ..config() });
    assert_eq!(world.rules(), [ARP, "udp *:53 active"]);
    change(&mut world, SymbolConfig { detect: false, ..config() });
    assert_eq!(world.rules(), [ARP]);
    change(&mut world, config());
    assert_eq!(world.rules(), [ARP, "tcp *:80 active", "udp *:53 active"]);
    assert_eq!((world.symbol_state(), &world.actions[..]), ("up".to_owned(), &[][..]));
}

#[test]
fn rules_by_hand_that_are_hidden_now_go() {
    let mut world = World::up();
    for text in ["tcp/80", "udp/53"] {
        world.control.add_rule(SYMBOL, text.parse::<RuleText>().unwrap().0, world.now).unwrap();
    }
    world.settle();
    let only = Exposure::only(ServiceSet::parse(&["udp/*"]).unwrap());
    change(&mut world, SymbolConfig { exposure: only, ..config() });
    assert_eq!(world.rules(), [ARP, "udp *:53 active"]);
    assert_eq!(world.control.rules_by_hand(SYMBOL).count(), 1);
}

fn say(world: &mut World, message: &Message<'_>) {
    world.relay.send(message);
    world.settle();
    world.run(Duration::from_millis(50));
}

#[test]
fn what_the_relay_takes_back_is_shown_and_asked_for_again_when_it_says_so() {
    let mut world = serving(&["tcp/80"]);
    let tcp = "tcp/80".parse::<RuleText>().unwrap().0;
    let tunnel = *world.relay.rules.iter().find(|(_, rule)| **rule == tcp).unwrap().0;
    let status = Status::NOT_PERMITTED;
    let reply = RuleReply { request: RequestId(0), tunnel, status, text: "not any more" };
    say(&mut world, &Message::RuleReply(reply));
    assert_eq!(world.rules(), [ARP, "tcp *:80 refused"]);
    world.run(Duration::from_secs(60));
    assert_eq!(world.relay.heard, Vec::<String>::new(), "there is no use in asking");
    let notice = Notice { status: Status::OK, text: "another configuration" };
    say(&mut world, &Message::Notice(notice));
    assert_eq!(world.relay.heard, ["add tcp *:80"]);
    assert_eq!(world.rules(), [ARP, "tcp *:80 active"]);

    world.relay.refuse_port = true;
    let reply = PortReply {
        request: RequestId(0),
        symbol: SYMBOL,
        status,
        port: PortId(0),
        text: "the port neither",
        attributes: None,
    };
    say(&mut world, &Message::PortReply(reply));
    assert_eq!(world.symbol_state(), "refused");
    let row = world.control.show_symbols().pop().unwrap();
    assert!(row.reason.unwrap().contains("the port neither"));
    world.relay.refuse_port = false;
    say(&mut world, &Message::Notice(notice));
    world.run(Duration::from_millis(500));
    assert_eq!(world.symbol_state(), "up");
    assert_eq!(world.rules(), [ARP, "tcp *:80 active"]);
}
