//! The interfaces that a configuration file names: that of the link, and a relay's ports.

use super::settings::Settings;
use super::{Finding, firewall};
use fast_path::{Error, LinkInterface, Offloads};
use frames::discovery::Role;
use l2link::Config;
use l2link_os::{IfIndex, LinkInfo, NetNs, Netlink, OutputPath, SetupError, ethtool};
use std::fs;
use std::path::Path;

/// MTU with which every packet of a port of 1500 crosses the link in one frame, headers and seal included.
const WHOLE_MTU: u32 = 1600;

pub(super) fn examine(settings: &Settings, findings: &mut Vec<Finding>) {
    let links = NetNs::current().and_then(|netns| Netlink::open(&netns)).and_then(|mut netlink| {
        netlink.links().map_err(|error| SetupError::system("listing the interfaces", error))
    });
    let links = match links {
        Ok(links) => links,
        Err(error) => {
            findings.push(Finding::wrong("link", error.to_string(), "run as root"));
            return;
        }
    };
    findings.extend(link(&settings.link, &links));
    let link = links.iter().find(|link| link.name == settings.link);
    match &*settings.fast_path {
        "auto" => findings.extend(link.map(|link| fast_path(link, settings.sealed, Finding::note))),
        "require" => findings.extend(link.map(|link| fast_path(link, settings.sealed, Finding::wrong))),
        _ => {}
    }
    findings.extend(firewall::at(&settings.link));
    for port in &settings.ports {
        findings.extend(self::port(port, settings, &links));
    }
    if settings.role == Role::Relay {
        findings.extend(super_packets());
    }
    if settings.role == Role::Control {
        findings.extend(settings.namespaces.iter().flatten().map(|name| namespace(name)));
    }
}

/// The interface on the segment.
fn link(name: &str, links: &[LinkInfo]) -> Vec<Finding> {
    const TOPIC: &str = "link";
    let found = match present(TOPIC, name, links) {
        Ok(found) => found,
        Err(finding) => return vec![*finding],
    };
    let (mtu, least) = (found.mtu, Config::MTU_MIN);
    if mtu < least {
        return vec![Finding::wrong(
            TOPIC,
            format!("interface {name} has MTU {mtu}, at least {least} is needed"),
            format!("`ip link set {name} mtu 1500`, as on all of the segment"),
        )];
    }
    let mut findings = vec![Finding::ok(TOPIC, format!("interface {name} is up, MTU {mtu}"))];
    if mtu < WHOLE_MTU {
        findings.push(Finding::note(
            TOPIC,
            format!("interface {name} has MTU {mtu}: a packet of 1500 bytes crosses in two frames"),
            format!(
                "`ip link set {name} mtu 9000` is faster, not needed. All devices of the segment must have the same, and its \
                 switches pass it: else large packets are lost"
            ),
        ));
    }
    findings
}

/// What the fast path needs of packets, which cross the link `sealed` or in clear, and of the interface on the segment. `lacking` is
/// what it is if that is not there.
fn fast_path(link: &LinkInfo, sealed: bool, lacking: fn(&'static str, String, String) -> Finding) -> Finding {
    const TOPIC: &str = "fast path";
    let (name, kind) = (&*link.name, link.kind.as_deref());
    if sealed {
        return lacking(
            TOPIC,
            "packets cross the link sealed: all go by the daemon".into(),
            "data = \"clear\" in the [link] of all devices, if the segment is trusted; or fast_path = \"off\"".into(),
        );
    }
    let LinkInfo { ifindex: IfIndex(ifindex), .. } = *link;
    match (LinkInterface { ifindex, name, kind, offloads: ethtool::offloads }).fit() {
        Ok(Offloads { gro: true, .. }) => {
            Finding::ok(TOPIC, format!("interface {name} leaves checksums and packets to the kernel"))
        }
        Ok(_) => Finding::note(
            TOPIC,
            format!("interface {name} does not join the packets of TCP that come (GRO): each goes by itself"),
            format!("`ethtool -K {name} gro on` is faster, not needed"),
        ),
        Err(Error::Kind(..)) => lacking(
            TOPIC,
            format!("interface {name} is a {}: all packets go by the daemon", kind.unwrap_or("virtual one")),
            format!(
                "only a network card or a veth can have it, in place of {name} in [link]; else fast_path = \"off\""
            ),
        ),
        Err(Error::Offloads(_)) => lacking(
            TOPIC,
            format!("interface {name} completes checksums or cuts packets: all packets go by the daemon"),
            format!("`ethtool -K {name} tx off tso off`; where the driver refuses it, fast_path = \"off\""),
        ),
        Err(error) => Finding::note(TOPIC, error.to_string(), "run as root, where the interface is"),
    }
}

/// What keeps super-packets that leave by a relay's own routes from leaving whole.
fn super_packets() -> Option<Finding> {
    let mut path = OutputPath::open(&NetNs::current().ok()?).ok()?;
    let is_filtered = path.is_unfiltered().is_ok_and(|unfiltered| !unfiltered);
    is_filtered.then(|| {
        Finding::note(
            "port",
            "a firewall or IPsec looks at what this machine sends: TCP of symbols leaves packet by packet by its routes",
            "without chains at the hooks output and postrouting (`nft list ruleset`) and policies (`ip xfrm policy`) it is faster, \
             not needed",
        )
    })
}

/// A port of a relay.
fn port(name: &str, settings: &Settings, links: &[LinkInfo]) -> Vec<Finding> {
    const TOPIC: &str = "port";
    if name == settings.link {
        return vec![Finding::wrong(
            TOPIC,
            format!("{name} is both the link's interface and a port"),
            "give the link an interface of its own, a VLAN or a macvlan for instance",
        )];
    }
    let found = match present(TOPIC, name, links) {
        Ok(found) => found,
        Err(finding) => return vec![*finding],
    };
    let mut findings = vec![Finding::ok(TOPIC, format!("interface {name} is up, MTU {}", found.mtu))];
    if settings.routes
        && sysctl(&format!("ipv4/conf/{name}/rp_filter")).max(sysctl("ipv4/conf/all/rp_filter")) == 1
    {
        findings.push(Finding::note(
            TOPIC,
            format!("interface {name} filters sources strictly: packets that come by another way than the one back are lost"),
            format!("`sysctl -w net.ipv4.conf.{name}.rp_filter=2` (loose), if routes can be asymmetric"),
        ));
    }
    findings
}

/// An interface that has to be there, up, connected, and no bridge's.
fn present<'a>(topic: &'static str, name: &str, links: &'a [LinkInfo]) -> Result<&'a LinkInfo, Box<Finding>> {
    let wrong = |found: String, remedy: String| Err(Box::new(Finding::wrong(topic, found, remedy)));
    let Some(found) = links.iter().find(|link| link.name == name) else {
        let names: Vec<_> =
            links.iter().filter(|link| !link.loopback).map(|link| link.name.as_str()).collect();
        return wrong(
            format!("there is no interface {name} in this network namespace"),
            format!("choose one of those that are there: {}", names.join(", ")),
        );
    };
    if !found.ethernet {
        return wrong(
            format!("interface {name} carries no Ethernet frames"),
            "choose an Ethernet interface".into(),
        );
    }
    if found.bridge_port {
        let bridge = links.iter().find(|link| Some(link.ifindex) == found.master);
        let bridge = bridge.map_or("the bridge", |bridge| bridge.name.as_str());
        return wrong(
            format!("interface {name} is a port of {bridge}, which takes its packets away"),
            format!("write {bridge} in its place, or `ip link set {name} nomaster`"),
        );
    }
    if !found.up {
        return wrong(format!("interface {name} is down"), format!("`ip link set {name} up`"));
    }
    if !found.carrier {
        return wrong(
            format!("interface {name} has no carrier"),
            "look at the cable and at the other end; `ip link show` tells when it is there".into(),
        );
    }
    Ok(found)
}

/// The namespace of a symbol.
fn namespace(name: &str) -> Finding {
    const TOPIC: &str = "namespace";
    match NetNs::named(name) {
        Ok(_) => Finding::ok(TOPIC, format!("network namespace {name} is there")),
        Err(error @ SetupError::NoNetNs { .. }) => {
            Finding::wrong(TOPIC, error.to_string(), format!("`ip netns add {name}`"))
        }
        Err(error) => Finding::wrong(TOPIC, error.to_string(), "run as root"),
    }
}

/// A setting below `/proc/sys/net`; zero if there is none.
pub(super) fn sysctl(path: &str) -> u32 {
    let text = fs::read_to_string(Path::new("/proc/sys/net").join(path));
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use rstest::rstest;

    fn interface(name: &str, change: impl FnOnce(&mut LinkInfo)) -> LinkInfo {
        let mut link = LinkInfo {
            ifindex: IfIndex(7),
            name: name.into(),
            mac: None,
            mtu: 9000,
            up: true,
            carrier: true,
            speed: 0,
            ethernet: true,
            loopback: false,
            master: None,
            link: None,
            bridge_port: false,
            kind: None,
        };
        change(&mut link);
        link
    }

    #[rstest]
    #[case::absent(interface("lan1", |_| ()), "there is no interface lan0", "those that are there: lan1")]
    #[case::down(interface("lan0", |link| link.up = false), "is down", "`ip link set lan0 up`")]
    #[case::no_carrier(interface("lan0", |link| link.carrier = false), "no carrier", "cable")]
    #[case::tunnel(interface("lan0", |link| link.ethernet = false), "no Ethernet", "choose")]
    #[case::bridge(
        interface("lan0", |link| (link.bridge_port, link.master) = (true, Some(IfIndex(7)))),
        "is a port of lan0", "nomaster"
    )]
    fn what_is_wrong_is_named_and_mended(#[case] link: LinkInfo, #[case] found: &str, #[case] remedy: &str) {
        let [finding] = self::link("lan0", &[link]).try_into().unwrap();
        assert!(finding.found.contains(found), "{finding:?}");
        assert!(finding.remedy.as_ref().unwrap().contains(remedy), "{finding:?}");
    }

    #[rstest]
    #[case::macvlan("macvlan", false, "interface lo is a macvlan", "only a network card or a veth")]
    #[case::sealed("veth", true, "sealed", "data = \"clear\"")]
    fn what_keeps_packets_off_the_fast_path_is_told(
        #[case] kind: &str,
        #[case] sealed: bool,
        #[case] found: &str,
        #[case] remedy: &str,
    ) {
        let link = interface("lo", |link| link.kind = Some(kind.to_owned()));
        let finding = fast_path(&link, sealed, Finding::wrong);
        assert_eq!(finding.level, Level::Wrong);
        assert!(finding.found.contains(found), "{finding:?}");
        let told = finding.remedy.unwrap();
        assert!(told.contains(remedy) && !told.contains("ethtool"), "{told}");
    }

    #[test]
    fn a_mtu_below_the_least_is_wrong() {
        let [finding] = link("lan0", &[interface("lan0", |link| link.mtu = 1279)]).try_into().unwrap();
        assert!(finding.found.contains("MTU 1279, at least 1280 is needed"), "{finding:?}");
        assert!(finding.remedy.as_ref().unwrap().contains("`ip link set lan0 mtu 1500`"), "{finding:?}");
    }

    #[test]
    fn a_small_mtu_is_a_note() {
        let findings = link("lan0", &[interface("lan0", |link| link.mtu = 1500)]);
        assert_eq!(findings.len(), 2);
        assert_eq!(link("lan0", &[interface("lan0", |_| ())]).len(), 1);
    }
}
