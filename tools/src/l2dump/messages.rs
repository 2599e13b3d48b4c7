//! The fields of messages. Their keys are the last words of the dissector's names: `l2link.route.metric` is `metric`.

use crate::fields::{Object, Value};
use core::net::{IpAddr, Ipv6Addr};
use frames::message::{
    Flows, Group, LiveFlow, Membership, Message, PortAddress, PortAttributes, PortFlags, PortReply,
    PortRoute, RelayIntroduce, RouteAdd, RouteNexthop, RoutesSlice, RuleAdd, RuleDelete, Status, Translation,
};
use frames::protocol_address::{Family, Local};
use frames::route::{RouteKey, TableDigest};
use frames::{PortId, ProtocolAddress, RequestId, SymbolId, UpTunnel};

/// The fields of a message behind its header.
pub(crate) fn fields(message: &Message<'_>) -> Object {
    match message {
        Message::PortRequest(it) => request(it.request).and(symbol(it.symbol)).text("name", it.name),
        Message::PortReply(it) => port_reply(it),
        Message::PortUpdate(it) => port(it.port).and(attributes(&it.attributes)),
        Message::PortRelease(it) => symbol(it.symbol).and(port(it.port)),
        Message::PortAddresses(it) => port(it.port).list("addresses", it.addresses.iter().map(port_address)),
        Message::AddressReply(it) => {
            port(it.port).and(port_address(&it.address)).and(outcome(it.status, it.text))
        }
        Message::TunnelRequest(it) => request(it.request).and(symbol(it.symbol)).and(port(it.port)),
        Message::TunnelReply(it) => request(it.request)
            .and(symbol(it.symbol))
            .and(port(it.port))
            .with("down_tunnel", it.tunnel.0)
            .and(outcome(it.status, "")),
        Message::RuleAdd(it) => rule(it),
        Message::RuleReply(it) => {
            request(it.request).and(up_tunnel(it.tunnel)).and(outcome(it.status, it.text))
        }
        Message::RuleDelete(it) | Message::RuleDeleted(it) => rule_delete(it),
        Message::RulesEnd => Object::new(),
        Message::MembershipAdd(it) | Message::MembershipDelete(it) => membership(it),
        Message::Notice(it) => outcome(it.status, it.text),
        Message::RouteAdd(it) => route_add(it),
        Message::RouteDelete(it) => request(it.request).and(route_key(&it.key)),
        Message::RouteReply(it) => route_key(&it.key).and(outcome(it.status, it.text)),
        Message::RoutesDone(it) => request(it.request),
        Message::RoutesBegin(it) | Message::RoutesEnd(it) | Message::RoutesDigestRequest(it) => slice(it),
        Message::RoutesDigestReply(it) => slice(&it.of).list("digests", it.parts.iter().map(digest)),
        Message::TranslationRequest(it) => {
            request(it.request).and(symbol(it.symbol)).and(port(it.port)).and(translation(&it.translation))
        }
        Message::TranslationReply(it) => {
            request(it.request).and(symbol(it.symbol)).and(outcome(it.status, it.text))
        }
        Message::TranslatedRuleAdd(it) => rule(&it.rule).and(translation(&it.translation)),
        Message::FlowsRequest(it) => request(it.request).and(up_tunnel(it.tunnel)),
        Message::Flows(it) => flows(it),
        Message::RelayIntroduce(it) => introduction(it),
        Message::RelayDismiss(it) => symbol(it.symbol),
    }
}

/// A digest of a table of routes.
pub(crate) fn digest(digest: &TableDigest) -> Object {
    Object::new().with("count", digest.count).text("sum", format_args!("{:016x}", digest.sum))
}

fn request(request: RequestId) -> Object {
    Object::new().with("request", request.0)
}

fn symbol(symbol: SymbolId) -> Object {
    Object::new().with("symbol", symbol.0)
}

fn port(port: PortId) -> Object {
    Object::new().with("port", port.0)
}

fn up_tunnel(tunnel: UpTunnel) -> Object {
    Object::new().with("up_tunnel", tunnel.0)
}

fn outcome(status: Status, text: &str) -> Object {
    let name = Status::ALL.iter().find(|(known, _)| *known == status).map(|(_, name)| *name);
    Object::new().named("status", name, status.0).remark("text", text)
}

fn port_reply(reply: &PortReply<'_>) -> Object {
    let head = request(reply.request).and(symbol(reply.symbol)).and(port(reply.port));
    let head = head.and(outcome(reply.status, reply.text));
    match &reply.attributes {
        Some(granted) => head.and(attributes(granted)),
        None => head,
    }
}

fn attributes(attributes: &PortAttributes<'_>) -> Object {
    let PortAttributes { generation, flags, mtu, speed, mac, name, addresses, routes } = attributes;
    let fixed = Object::new()
        .with("generation", *generation)
        .with("present", flags.contains(PortFlags::PRESENT))
        .with("up", flags.contains(PortFlags::UP))
        .with("carrier", flags.contains(PortFlags::CARRIER))
        .with("mtu", *mtu)
        .with("speed", *speed)
        .text("mac", mac);
    let mut object = Object::new().with("attributes", fixed).text("name", name);
    if !addresses.is_empty() {
        object = object.list("addresses", addresses.iter().map(port_address));
    }
    if !routes.is_empty() {
        object = object.list("port_routes", routes.iter().map(port_route));
    }
    object
}

fn port_address(address: &PortAddress) -> Object {
    Object::new()
        .text("address", address.address())
        .with("prefix_length", address.prefix_length())
        .with("given", address.is_given())
}

fn port_route(route: &PortRoute) -> Object {
    let destination = route.destination();
    Object::new()
        .with("destination", destination.map_or(Value::Null, |prefix| prefix.address().to_string().into()))
        .with("gateway", optional(route.gateway()))
        .with("prefix_length", destination.map_or(Value::Null, |prefix| prefix.length().into()))
        .with("onlink", route.onlink())
}

fn optional(address: Option<IpAddr>) -> Value {
    address.map_or(Value::Null, |address| address.to_string().into())
}

fn rule(rule: &RuleAdd) -> Object {
    request(rule.request)
        .and(symbol(rule.symbol))
        .and(port(rule.port))
        .and(up_tunnel(rule.tunnel))
        .with("weight", rule.weight)
        .with("protocol_address", protocol_address(&rule.protocol_address))
}

fn rule_delete(delete: &RuleDelete) -> Object {
    request(delete.request).and(up_tunnel(delete.tunnel))
}

/// All seven fields, those that the class does not use as they are written.
fn protocol_address(address: &ProtocolAddress) -> Object {
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let object =
        |class: &str, family: Family| Object::new().text("class", class).text("family", name(family));
    match *address {
        ProtocolAddress::Listener { protocol, local, port } => {
            let (family, own) = bound(local);
            object("listener", family).with("protocol", protocol).and(ends((own, port), (any, 0)))
        }
        ProtocolAddress::Flow { protocol, local, local_port, remote, remote_port } => {
            let (family, own) = bound(Local::Address(local));
            object("flow", family)
                .with("protocol", protocol)
                .and(ends((own, local_port), (remote, remote_port)))
        }
        ProtocolAddress::IpProtocol { protocol, local } => {
            let (family, own) = bound(local);
            object("IP protocol", family).with("protocol", protocol).and(ends((own, 0), (any, 0)))
        }
        ProtocolAddress::EtherType(ethertype) => {
            object("EtherType", Family::Both).with("ethertype", ethertype).and(ends((any, 0), (any, 0)))
        }
    }
}

fn ends((local, local_port): (IpAddr, u16), (remote, remote_port): (IpAddr, u16)) -> Object {
    Object::new()
        .with("local_port", local_port)
        .with("remote_port", remote_port)
        .text("local", local)
        .text("remote", remote)
}

/// The family and the address of a local end.
fn bound(local: Local) -> (Family, IpAddr) {
    match local {
        Local::Any(family) => (family, Ipv6Addr::UNSPECIFIED.into()),
        Local::Address(address) if address.is_ipv4() => (Family::V4, address),
        Local::Address(address) => (Family::V6, address),
    }
}

fn name(family: Family) -> &'static str {
    match family {
        Family::Both => "both",
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn membership(membership: &Membership) -> Object {
    let object = port(membership.port);
    match membership.group {
        Group::Ip(address) => object.text("class", "IP").text("group", address),
        Group::Ethernet(mac) => object.text("class", "Ethernet").text("mac", mac),
    }
}

fn route_add(route: &RouteAdd<'_>) -> Object {
    request(route.request)
        .and(route_key(&route.key))
        .with("mtu", route.content.mtu)
        .text("kind", route.content.kind)
        .with("count", route.content.nexthops.len())
        .list("nexthops", route.content.nexthops.iter().map(nexthop))
}

fn route_key(key: &RouteKey) -> Object {
    Object::new()
        .text("family", if key.prefix.address().is_ipv4() { "IPv4" } else { "IPv6" })
        .with("prefix_length", key.prefix.length())
        .with("table", key.table)
        .with("metric", key.metric)
        .text("prefix", key.prefix.address())
}

fn nexthop(nexthop: &RouteNexthop) -> Object {
    let gateway = nexthop.gateway();
    let family = gateway.map_or("none", |gateway| if gateway.is_ipv4() { "IPv4" } else { "IPv6" });
    port(nexthop.port())
        .with("weight", nexthop.weight())
        .with("onlink", nexthop.onlink())
        .with("at_relay", nexthop.symbol().is_some())
        .text("family", family)
        .with("gateway", optional(gateway))
}

fn slice(slice: &RoutesSlice) -> Object {
    request(slice.request).with("prefix", slice.slice.prefix()).with("bits", slice.slice.bits())
}

fn translation(translation: &Translation) -> Object {
    Object::new().text("virtual", translation.virtual_address).text("control", translation.control_address)
}

fn flows(flows: &Flows<'_>) -> Object {
    request(flows.request)
        .and(up_tunnel(flows.tunnel))
        .with("last", flows.last)
        .with("count", flows.flows.len())
        .list("flows", flows.flows.iter().map(live_flow))
}

fn live_flow(flow: &LiveFlow) -> Object {
    ends(flow.local(), flow.remote())
}

fn introduction(introduction: &RelayIntroduce<'_>) -> Object {
    let RelayIntroduce { symbol: id, mac, salt, relay, port, key } = introduction;
    let object = symbol(*id).text("mac", mac).bytes("salt", salt).text("relay", relay).text("name", port);
    match key {
        Some(key) => object.bytes("public_key", key),
        None => object,
    }
}
