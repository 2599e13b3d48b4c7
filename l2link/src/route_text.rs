//! [`RouteText`]: routes as people write them, in commands and configuration files, in the words of `ip route`.
//!
//! ```text
//! [KIND] PREFIX [via GATEWAY] [dev NAME] [onlink] [metric N] [table N] [mtu N] [netns NAME] [nexthop via … dev … weight N]…
//! ```
//!
//! KIND is `unicast`, which may be left out, `blackhole`, `unreachable` or `prohibit`. What `dev` names is the reader's
//! matter: a symbol at a control, a port at a relay.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::str::FromStr;
use frames::message::RouteNexthop;
use frames::route::{Prefix, RouteKey, RouteKind};

/// A route in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteText {
    /// What becomes of packets.
    pub kind: RouteKind,
    /// Their destination.
    pub prefix: Prefix,
    /// The metric, if it was written: [`RouteText::key`] has the usual one else.
    pub metric: Option<u32>,
    /// The table, if it was written.
    pub table: Option<u32>,
    /// Largest packet in bytes; zero for that of the interface.
    pub mtu: u32,
    /// The namespace in which a control's symbols are meant.
    pub netns: Option<String>,
    /// Where it leads.
    pub nexthops: Vec<NexthopText>,
}

/// A nexthop in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NexthopText {
    /// The neighbour; none if the destination itself is one.
    pub gateway: Option<IpAddr>,
    /// A symbol or port.
    pub dev: String,
    /// Share of flows, 1 to [`WEIGHT_MAX`].
    pub weight: u16,
    /// Whether the gateway counts as reachable whatever the addresses.
    pub onlink: bool,
}

/// Largest weight of a nexthop (`rtnh_hops` of linux/rtnetlink.h is one less, in eight bits).
pub const WEIGHT_MAX: u16 = 256;

/// Why words are no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTextError(String);

impl fmt::Display for RouteTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for RouteTextError {}

impl RouteText {
    /// Metric of a route of IPv6 for which none was written (`IP6_RT_PRIO_USER` of linux/ipv6_route.h); of IPv4 it is 0.
    pub const METRIC_V6: u32 = 1024;

    /// Which route.
    #[must_use]
    pub fn key(&self) -> RouteKey {
        let usual = if self.prefix.address().is_ipv4() { 0 } else { Self::METRIC_V6 };
        RouteKey {
            table: self.table.unwrap_or(RouteKey::MAIN),
            prefix: self.prefix,
            metric: self.metric.unwrap_or(usual),
        }
    }

    /// Whether these words, of a deletion, name a route: what they leave out may be anything.
    #[must_use]
    pub fn names(&self, route: &Self) -> bool {
        let key = route.key();
        let same = |word: &NexthopText, hop: &NexthopText| {
            word.dev == hop.dev && (word.gateway.is_none() || word.gateway == hop.gateway)
        };
        (self.prefix, self.table.unwrap_or(RouteKey::MAIN)) == (key.prefix, key.table)
            && self.metric.is_none_or(|metric| metric == key.metric)
            && self.netns.as_ref().is_none_or(|netns| Some(netns) == route.netns.as_ref())
            && self.nexthops.iter().all(|word| route.nexthops.iter().any(|hop| same(word, hop)))
    }

    /// The words of a deletion that name this route, and no other of its prefix.
    #[must_use]
    pub fn selector(&self) -> Self {
        Self { metric: Some(self.key().metric), ..self.clone() }
    }

    /// Reads the words of a route that is to be.
    ///
    /// # Errors
    /// Says which word, and what may be there.
    pub fn parse(text: &str) -> Result<Self, RouteTextError> {
        let route = Self::read(text)?;
        if route.kind == RouteKind::Unicast && route.nexthops.is_empty() {
            return Err(RouteTextError(format!("route {}: it leads nowhere: write dev NAME", route.prefix)));
        }
        Ok(route)
    }

    /// Reads the words of a deletion, which may leave out all but the prefix.
    ///
    /// # Errors
    /// As [`RouteText::parse`].
    pub fn parse_selector(text: &str) -> Result<Self, RouteTextError> {
        Self::read(text)
    }

    fn read(text: &str) -> Result<Self, RouteTextError> {
        let mut words = text.split_whitespace().peekable();
        let kind = words.peek().and_then(|word| RouteKind::ALL.iter().find(|(_, name)| name == word));
        if kind.is_some() {
            let _ = words.next();
        }
        let word = words.next().ok_or_else(|| RouteTextError(format!("a route needs a prefix; {WORDS}")))?;
        // `default` is of the version of its gateway, which comes later.
        let version = text.split_whitespace().skip_while(|word| *word != "via").nth(1);
        let prefix = prefix(word, version)?;
        let mut route = Self {
            kind: kind.map_or(RouteKind::Unicast, |(kind, _)| *kind),
            prefix,
            metric: None,
            table: None,
            mtu: 0,
            netns: None,
            nexthops: Vec::new(),
        };
        let error = |text: String| RouteTextError(format!("route {word}: {text}"));
        let mut hop = Hop::default();
        let mut listed = false;
        while let Some(key) = words.next() {
            if matches!(key, "nexthop" | "onlink") {
                if key == "onlink" {
                    hop.onlink = true;
                } else {
                    hop.end(listed, &mut route.nexthops).map_err(error)?;
                    listed = true;
                }
                continue;
            }
            let value = words.next();
            let value = || {
                value.ok_or_else(|| {
                    error(format!("{key:?} needs something behind it, or is no word; {WORDS}"))
                })
            };
            let number = |least: u32, most: u32| {
                let value = value()?;
                let number = value.parse().ok().filter(|number| (least..=most).contains(number));
                number.ok_or_else(|| error(format!("{key} is {value}; {least} to {most} are allowed")))
            };
            match key {
                "via" => {
                    // `via inet6 ADDRESS` names the version of a gateway that is of another.
                    let mut address = value()?;
                    if matches!(address, "inet" | "inet6") {
                        address = words.next().unwrap_or_default();
                    }
                    let parsed: Option<IpAddr> = address.parse().ok();
                    let parsed =
                        parsed.filter(|address| !address.is_unspecified() && !address.is_multicast());
                    hop.gateway =
                        Some(parsed.ok_or_else(|| error(format!("{address:?} is no gateway's address")))?);
                }
                "dev" => hop.dev = Some(value()?.to_owned()),
                "weight" => hop.weight = u16::try_from(number(1, WEIGHT_MAX.into())?).ok(),
                "metric" => route.metric = Some(number(0, u32::MAX)?),
                "table" => {
                    route.table = Some(match value()? {
                        "main" => RouteKey::MAIN,
                        "default" => TABLE_DEFAULT,
                        other => other
                            .parse()
                            .ok()
                            .filter(|table| !matches!(*table, 0 | TABLE_LOCAL))
                            .ok_or_else(|| {
                                error(format!("{other:?} is no table: write main, default, or a number other than 0 and 255"))
                            })?,
                    });
                }
                "mtu" => route.mtu = number(MTU_MIN, MTU_MAX)?,
                "netns" => route.netns = Some(value()?.to_owned()),
                other => return Err(error(format!("{other:?} is no word of a route; {WORDS}"))),
            }
        }
        hop.end(listed, &mut route.nexthops).map_err(error)?;
        let ipv6 = prefix.address().is_ipv6();
        let mixed = |hop: &&NexthopText| ipv6 && hop.gateway.is_some_and(|gateway| gateway.is_ipv4());
        if route.kind != RouteKind::Unicast && !route.nexthops.is_empty() {
            return Err(error(format!(
                "a route of kind {} leads nowhere: leave via and dev out",
                route.kind
            )));
        }
        if let Some(hop) = route.nexthops.iter().find(mixed) {
            let gateway = hop.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            return Err(error(format!("{gateway} cannot be a gateway of IPv6")));
        }
        if ipv6 && route.metric == Some(0) {
            return Err(error("a route of IPv6 has a metric from 1".to_owned()));
        }
        if route.nexthops.len() > RouteNexthop::MAX {
            return Err(error(format!("a route has at most {} nexthops", RouteNexthop::MAX)));
        }
        Ok(route)
    }
}

const WORDS: &str = "after the prefix there may be: via GATEWAY, dev NAME, onlink, metric N, table N, mtu N, netns NAME, nexthop …";
// linux/rtnetlink.h
const TABLE_DEFAULT: u32 = 253;
const TABLE_LOCAL: u32 = 255;
/// `IPV4_MIN_MTU` of net/ip.h, to what the kernel takes for IPv4 (`ip_metrics_convert` of net/ipv4/metrics.c).
const MTU_MIN: u32 = 68;
const MTU_MAX: u32 = 65_520;

/// The words of one nexthop so far.
#[derive(Debug, Default)]
struct Hop {
    gateway: Option<IpAddr>,
    dev: Option<String>,
    weight: Option<u16>,
    onlink: bool,
}

impl Hop {
    /// The words of a nexthop are over.
    fn end(&mut self, listed: bool, nexthops: &mut Vec<NexthopText>) -> Result<(), String> {
        let Self { gateway, dev, weight, onlink } = core::mem::take(self);
        match dev {
            Some(dev) => {
                nexthops.push(NexthopText { gateway, dev, weight: weight.unwrap_or(1), onlink });
                Ok(())
            }
            None if gateway.is_some() || onlink || listed || weight.is_some() => {
                Err("a nexthop needs dev NAME".to_owned())
            }
            None => Ok(()),
        }
    }
}

fn prefix(word: &str, version: Option<&str>) -> Result<Prefix, RouteTextError> {
    let error = |text: &str| RouteTextError(format!("{word:?} {text}"));
    if word == "default" {
        let ipv6 = version.is_some_and(|gateway| gateway == "inet6" || gateway.contains(':'));
        let any: IpAddr =
            if ipv6 { core::net::Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        return Prefix::new(any, 0).ok_or_else(|| error("is no prefix"));
    }
    let (address, length) =
        word.split_once('/').map_or((word, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address
        .parse()
        .map_err(|_| error("is no prefix: write an address, a slash and a length: 10.0.0.0/8, or default"))?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => Some(whole),
        Some(text) => text.parse().ok(),
    };
    let prefix = length.and_then(|length| Prefix::new(address, length));
    let prefix = prefix.ok_or_else(|| error("has no length that its address can have"))?;
    if prefix.address() != address {
        return Err(error(&format!("has bits beyond its length; {prefix} has none")));
    }
    Ok(prefix)
}

impl FromStr for RouteText {
    type Err = RouteTextError;

    fn from_str(text: &str) -> Result<Self, RouteTextError> {
        Self::parse(text)
    }
}

impl fmt::Display for RouteText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != RouteKind::Unicast {
            write!(f, "{} ", self.kind)?;
        }
        self.prefix.fmt(f)?;
        if let [only] = &self.nexthops[..] {
            only.fmt(f)?;
        }
        let words =
            [("metric", self.metric), ("table", self.table), ("mtu", (self.mtu > 0).then_some(self.mtu))];
        for (key, value) in words {
            if let Some(value) = value {
                write!(f, " {key} {value}")?;
            }
        }
        if let Some(netns) = &self.netns {
            write!(f, " netns {netns}")?;
        }
        if self.nexthops.len() > 1 {
            self.nexthops.iter().try_for_each(|hop| write!(f, " nexthop{hop} weight {}", hop.weight))?;
        }
        Ok(())
    }
}

impl fmt::Display for NexthopText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " dev {}", self.dev)?;
        if self.onlink { f.write_str(" onlink") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("10.0.0.0/8 via 192.0.2.2 dev eth1")]
    #[case("10.0.0.0/8 dev eth1 onlink metric 20 table 100 mtu 1400")]
    #[case("10.0.0.0/8 via 2001:db8::2 dev eth1")]
    #[case("2001:db8:b::/48 via fe80::2 dev eth1 metric 5")]
    #[case("blackhole 10.0.0.0/8 netns router")]
    #[case("prohibit ::/0")]
    #[case("10.0.0.0/8 nexthop via 192.0.2.2 dev eth1 weight 1 nexthop dev eth2 weight 3")]
    fn display_is_what_was_parsed(#[case] text: &str) {
        assert_eq!(RouteText::parse(text).unwrap().to_string(), text);
    }

    #[rstest]
    #[case("unicast 10.0.0.1 dev eth1", "10.0.0.1/32 dev eth1")]
    #[case("default via 192.0.2.2 dev eth1", "0.0.0.0/0 via 192.0.2.2 dev eth1")]
    #[case("default via fe80::1 dev eth1", "::/0 via fe80::1 dev eth1")]
    #[case("10.0.0.0/8 dev eth1 via inet6 fe80::1 table main", "10.0.0.0/8 via fe80::1 dev eth1 table 254")]
    fn other_words_for_the_same(#[case] text: &str, #[case] written: &str) {
        assert_eq!(RouteText::parse(text).unwrap().to_string(), written);
    }

    #[rstest]
    #[case("", "needs a prefix")]
    #[case("ten", "\"ten\" is no prefix")]
    #[case("10.0.0.0/33 dev eth1", "no length that its address can have")]
    #[case("10.0.0.1/8 dev eth1", "bits beyond its length; 10.0.0.0/8 has none")]
    #[case("10.0.0.0/8", "it leads nowhere")]
    #[case("10.0.0.0/8 via 192.0.2.2", "a nexthop needs dev")]
    #[case("10.0.0.0/8 via 0.0.0.0 dev eth1", "no gateway's address")]
    #[case("10.0.0.0/8 via eth1", "no gateway's address")]
    #[case("10.0.0.0/8 dev", "\"dev\" needs something behind it")]
    #[case("10.0.0.0/8 dev eth1 metrik 5", "\"metrik\" is no word of a route; after the prefix")]
    #[case("10.0.0.0/8 dev eth1 metric -1", "metric is -1; 0 to 4294967295 are allowed")]
    #[case("10.0.0.0/8 dev eth1 table local", "is no table")]
    #[case("10.0.0.0/8 dev eth1 table 255", "is no table")]
    #[case("10.0.0.0/8 dev eth1 mtu 9", "68 to 65520")]
    #[case("10.0.0.0/8 nexthop dev eth1 weight 257", "1 to 256")]
    #[case("10.0.0.0/8 nexthop via 192.0.2.2", "a nexthop needs dev")]
    #[case("10.0.0.0/8 nexthop", "a nexthop needs dev")]
    #[case("10.0.0.0/8 onlink", "a nexthop needs dev")]
    #[case("10.0.0.0/8 weight 2", "a nexthop needs dev")]
    #[case("blackhole 10.0.0.0/8 dev eth1", "leads nowhere: leave via and dev out")]
    #[case("2001:db8::/32 via 192.0.2.2 dev eth1", "cannot be a gateway of IPv6")]
    #[case("2001:db8::/32 dev eth1 metric 0", "a metric from 1")]
    fn what_is_none(#[case] text: &str, #[case] reason: &str) {
        let error = RouteText::parse(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn a_selector_of_a_route_names_no_other_of_its_prefix() {
        let [one, other] = ["10.0.0.0/8 dev eth1", "10.0.0.0/8 dev eth1 metric 5"]
            .map(|text| RouteText::parse(text).unwrap());
        let selector = one.selector();
        assert!(selector.names(&one) && !selector.names(&other));
    }

    #[test]
    fn nexthops_are_as_many_as_a_message_holds() {
        let route =
            |nexthops| RouteText::parse(&format!("10.0.0.0/8{}", " nexthop dev eth1".repeat(nexthops)));
        assert_eq!(route(RouteNexthop::MAX).unwrap().nexthops.len(), RouteNexthop::MAX);
        assert!(route(RouteNexthop::MAX + 1).unwrap_err().to_string().contains("at most"));
    }

    #[test]
    fn keys_have_the_kernels_usual_metrics() {
        let key = |text| RouteText::parse(text).unwrap().key();
        assert_eq!((key("10.0.0.0/8 dev a").metric, key("::/0 dev a").metric), (0, 1024));
        assert_eq!(key("10.0.0.0/8 dev a table 7").table, 7);
    }

    #[rstest]
    #[case("10.0.0.0/8", true)]
    #[case("10.0.0.0/8 metric 5", true)]
    #[case("10.0.0.0/8 dev eth1", true)]
    #[case("10.0.0.0/8 via 192.0.2.2 dev eth1", true)]
    #[case("10.0.0.0/8 netns router", true)]
    #[case("10.0.0.0/8 netns other", false)]
    #[case("10.0.0.0/9", false)]
    #[case("10.0.0.0/8 metric 0", false)]
    #[case("10.0.0.0/8 table 7", false)]
    #[case("10.0.0.0/8 dev eth2", false)]
    #[case("10.0.0.0/8 via 192.0.2.3 dev eth1", false)]
    fn a_selector_names_what_it_does_not_contradict(#[case] selector: &str, #[case] named: bool) {
        let route = RouteText::parse("10.0.0.0/8 via 192.0.2.2 dev eth1 metric 5 netns router").unwrap();
        assert_eq!(RouteText::parse_selector(selector).unwrap().names(&route), named);
    }
}
