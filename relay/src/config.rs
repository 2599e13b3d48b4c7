//! `relay.toml`.

use core::time::Duration;
use frames::discovery::Role;
use frames::route::Prefix;
use l2link::route_text::RouteText;
use l2link::service::{Service, ServiceSet};
use l2link_os::config_file::{
    self, ApiSection, ApiSettings, ConfigError, ConfigSource, LinkSection, LinkSettings, MetricsSection,
    MetricsSettings, PeerSection, PeerSettings, TableWord, device_name, interface_name, routing_table,
    static_routes, without_restart,
};
use l2link_os::{PortDiscard, Spared, nft};
use relay_core::police::Limits;
use relay_core::{
    Conflicts, ControlName, FibConfig, Permission, PortConfig, RelayConfig, RoutePermission, Unmatched,
};
use serde::Deserialize;
use std::net::IpAddr;
use std::path::Path;
use toml::Spanned;

/// What a valid configuration file says.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) link: LinkSettings,
    pub(crate) relay: RelayConfig,
    /// The command socket.
    pub(crate) api: ApiSettings,
    /// Where figures for monitoring are to be had.
    pub(crate) metrics: Option<MetricsSettings>,
    /// Whether the machine is to forward packets.
    pub(crate) forwarding: bool,
    /// Routes by hand.
    pub(crate) static_routes: Vec<RouteText>,
    /// What is decided about controls.
    pub(crate) peers: Vec<PeerSettings>,
    /// What the operator should be told at every start.
    pub(crate) warnings: Vec<String>,
    /// The file.
    pub(crate) source: ConfigSource,
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    link: LinkSection,
    #[serde(default)]
    api: ApiSection,
    metrics: Option<Spanned<MetricsSection>>,
    #[serde(default)]
    routes: RoutesSection,
    #[serde(default)]
    port: Vec<PortSection>,
    #[serde(default)]
    peer: Vec<PeerSection>,
}

/// `[routes]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutesSection {
    hold_seconds: Option<Spanned<HoldWord>>,
    forwarding: Option<bool>,
    max: Option<Spanned<u64>>,
    #[serde(default, rename = "static")]
    by_hand: Vec<Spanned<String>>,
}

/// Values of `hold_seconds`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum HoldWord {
    Seconds(u64),
    Word(String),
}

/// `[[port]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortSection {
    interface: Spanned<String>,
    #[serde(default)]
    relay_services: Vec<Spanned<String>>,
    #[serde(default)]
    unmatched: UnmatchedWord,
    #[serde(default)]
    conflicts: ConflictsWord,
    #[serde(default)]
    allow: Vec<AllowSection>,
}

/// `[[port.allow]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowSection {
    control: Spanned<String>,
    services: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    routes: bool,
    prefixes: Option<Vec<Spanned<String>>>,
    tables: Option<Vec<Spanned<TableWord>>>,
    #[serde(default)]
    addressing: bool,
    priority: Option<Spanned<u16>>,
}

/// Values of `unmatched`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UnmatchedWord {
    #[default]
    Drop,
    Kernel,
}

/// Values of `conflicts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ConflictsWord {
    #[default]
    Share,
    First,
    Priority,
}

impl Settings {
    /// Reads and checks the file, and the key file with it.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::check(config_file::load(path)?)
    }

    /// Checks a text that is to be the file.
    pub(crate) fn parse(path: &Path, text: String) -> Result<Self, ConfigError> {
        Self::check(config_file::parse(path, text)?)
    }

    fn check((file, source): (File, ConfigSource)) -> Result<Self, ConfigError> {
        let name = device_name(&file.name, &source)?;
        let link = file.link.check(Role::Relay, &file.peer, &source)?;
        let api = file.api.check(Role::Relay, &source)?;
        let metrics = file.metrics.as_ref().map(|section| MetricsSection::check(section, &api, &source));
        let metrics = metrics.transpose()?;
        let mut warnings = link.warnings.clone();
        let ports = ports(&file, &source, &mut warnings)?;
        strangers(&file, &link, &source, &mut warnings);
        let fib = file.routes.check(&source)?;
        let routed = ports.iter().flat_map(|port| &port.allow).any(|permission| permission.routes.is_some());
        let static_routes = file.routes.by_hand(&ports, &source)?;
        let peers = PeerSettings::check(&file.peer, &source)?;
        let forwarding = file.routes.forwarding.unwrap_or(routed || !static_routes.is_empty());
        let relay = RelayConfig { name, ethertype: link.ethertype, ports, limits: Limits::default(), fib };
        Ok(Self { link, relay, api, metrics, forwarding, static_routes, peers, warnings, source })
    }

    /// Whether a daemon that runs by `before` can go on by these.
    pub(crate) fn without_restart(&self, before: &Self) -> Result<(), ConfigError> {
        without_restart((&before.source, &before.link), (&self.source, &self.link))
    }

    /// Interfaces of the ports to which a control may give addresses.
    pub(crate) fn addressed_ports(&self) -> Vec<String> {
        let addressed = |port: &&PortConfig| port.allow.iter().any(|permission| permission.addressing);
        let ports = self.relay.ports.iter().filter(addressed);
        ports.map(|port| port.interface.clone()).collect()
    }

    /// What the relay's kernel is kept from answering.
    pub(crate) fn discards(&self) -> Vec<PortDiscard> {
        let discard = |port: &PortConfig| PortDiscard {
            interface: port.interface.clone(),
            relay_services: port.relay_services.clone(),
            spared: match port.unmatched {
                Unmatched::Drop => Spared::Connections,
                Unmatched::Kernel => Spared::Sockets,
            },
        };
        self.relay.ports.iter().map(discard).collect()
    }
}

fn ports(
    file: &File,
    source: &ConfigSource,
    warnings: &mut Vec<String>,
) -> Result<Vec<PortConfig>, ConfigError> {
    let mut ports: Vec<PortConfig> = Vec::new();
    for section in &file.port {
        let port = section.check(source, warnings)?;
        let error = |message: String| source.error_at(section.interface.span(), message);
        if ports.iter().any(|known| known.interface == port.interface) {
            return Err(error(format!("port {} is here twice", port.interface))
                .help("put everything about a port in one [[port]]"));
        }
        if port.interface == *file.link.interface.get_ref() {
            return Err(error(format!("{} is the interface of the [link]", port.interface))
                .help("the segment to the controls cannot be a port as well"));
        }
        ports.push(port);
    }
    if ports.is_empty() {
        warnings.push(format!("{}: there is no [[port]]: no control gets anything", source.path().display()));
    }
    Ok(ports)
}

/// Tells of permissions for controls that cannot come, as no key is theirs.
fn strangers(file: &File, link: &LinkSettings, source: &ConfigSource, warnings: &mut Vec<String>) {
    for AllowSection { control, .. } in file.port.iter().flat_map(|port| &port.allow) {
        let name = control.get_ref();
        if name != "*" && !link.may_meet(name) {
            let place = source.location(control.span());
            warnings
                .push(format!("{place}: no [[peer]] has a public key for control {name}: it cannot come"));
        }
    }
}

impl RoutesSection {
    fn check(&self, source: &ConfigSource) -> Result<FibConfig, ConfigError> {
        let mut fib = FibConfig::default();
        if let Some(word) = &self.hold_seconds {
            fib.hold = match word.get_ref() {
                HoldWord::Seconds(seconds) if *seconds <= HOLD_MAX => Some(Duration::from_secs(*seconds)),
                HoldWord::Word(word) if word == "forever" => None,
                HoldWord::Seconds(_) | HoldWord::Word(_) => {
                    return Err(source
                        .error_at(word.span(), "this is not a time to hold routes for")
                        .help(format!("write 0 to {HOLD_MAX} seconds, or \"forever\"")));
                }
            };
        }
        if let Some(max) = &self.max {
            fib.max = usize::try_from(*max.get_ref()).ok().filter(|max| *max > 0).ok_or_else(|| {
                source.error_at(max.span(), "`max` must be at least 1").help("leave it out for 2000000")
            })?;
        }
        Ok(fib)
    }

    /// Routes by hand: they lead by ports.
    fn by_hand(&self, ports: &[PortConfig], source: &ConfigSource) -> Result<Vec<RouteText>, ConfigError> {
        let routes = static_routes(&self.by_hand, source)?;
        for (word, route) in self.by_hand.iter().zip(&routes) {
            let error = |message: String| source.error_at(word.span(), message);
            if route.netns.is_some() {
                let help = "leave it out: a relay's routes are in the namespace of its ports";
                return Err(error("netns is for routes of controls".to_owned()).help(help));
            }
            let is_port = |name: &String| ports.iter().any(|port| port.interface == *name);
            if let Some(hop) = route.nexthops.iter().find(|hop| !is_port(&hop.dev)) {
                return Err(error(format!("no port is called {}", hop.dev))
                    .help("behind dev stands the `interface` of a [[port]]"));
            }
        }
        Ok(routes)
    }
}

/// Longest `hold_seconds`: a year.
const HOLD_MAX: u64 = 366 * 24 * 3600;

impl PortSection {
    fn check(&self, source: &ConfigSource, warnings: &mut Vec<String>) -> Result<PortConfig, ConfigError> {
        let interface = interface_name(&self.interface, source)?;
        if !nft::takes(&interface) {
            let message = format!("an interface called {interface} cannot be lent: nftables cannot name it");
            return Err(source.error_at(self.interface.span(), message).help(
                "give it a name without quotation marks, stars and backslashes: `ip link set … name …`",
            ));
        }
        if self.allow.is_empty() {
            let place = source.location(self.interface.span());
            warnings.push(format!("{place}: port {interface} has no [[port.allow]]: no control gets it"));
        }
        Ok(PortConfig {
            relay_services: services(&self.relay_services, source)?,
            unmatched: match self.unmatched {
                UnmatchedWord::Drop => Unmatched::Drop,
                UnmatchedWord::Kernel => Unmatched::Kernel,
            },
            conflicts: match self.conflicts {
                ConflictsWord::Share => Conflicts::Share,
                ConflictsWord::First => Conflicts::First,
                ConflictsWord::Priority => Conflicts::Priority,
            },
            allow: self
                .allow
                .iter()
                .map(|allow| allow.check(self.conflicts, source))
                .collect::<Result<_, _>>()?,
            interface,
        })
    }
}

impl AllowSection {
    fn check(&self, conflicts: ConflictsWord, source: &ConfigSource) -> Result<Permission, ConfigError> {
        if let Some(priority) = self.priority.as_ref().filter(|_| conflicts != ConflictsWord::Priority) {
            return Err(source
                .error_at(priority.span(), "a priority without `conflicts = \"priority\"` means nothing")
                .help("add `conflicts = \"priority\"` to this [[port]]"));
        }
        let control = match self.control.get_ref().as_str() {
            "*" => ControlName::Any,
            _ => ControlName::Named(device_name(&self.control, source)?),
        };
        let services = match &self.services {
            Some(items) => services(items, source)?,
            None => ServiceSet::all(),
        };
        Ok(Permission {
            control,
            services,
            routes: self.route_permission(source)?,
            addressing: self.addressing,
            priority: self.priority.as_ref().map_or(0, |priority| *priority.get_ref()),
        })
    }

    fn route_permission(&self, source: &ConfigSource) -> Result<Option<RoutePermission>, ConfigError> {
        if !self.routes {
            let prefixes = self.prefixes.iter().flatten().map(Spanned::span);
            let tables = self.tables.iter().flatten().map(Spanned::span);
            return match prefixes.chain(tables).next() {
                Some(span) => Err(source
                    .error_at(span, "this limits routes, and no routes are allowed")
                    .help("add `routes = true` to this [[port.allow]]")),
                None => Ok(None),
            };
        }
        let mut permission = RoutePermission::default();
        if let Some(prefixes) = &self.prefixes {
            permission.prefixes =
                prefixes.iter().map(|word| prefix(word, source)).collect::<Result<_, _>>()?;
        }
        if let Some(tables) = &self.tables {
            permission.tables =
                tables.iter().map(|word| routing_table(word, source)).collect::<Result<_, _>>()?;
        }
        Ok(Some(permission))
    }
}

fn prefix(word: &Spanned<String>, source: &ConfigSource) -> Result<Prefix, ConfigError> {
    let text = word.get_ref();
    let error = |message: String| {
        source.error_at(word.span(), message).help("write an address, a slash and a length: \"10.0.0.0/8\"")
    };
    let parts = text
        .split_once('/')
        .and_then(|(address, length)| Some((address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?)));
    let Some((address, length)) = parts else { return Err(error(format!("{text:?} is not a prefix"))) };
    match Prefix::new(address, length) {
        Some(prefix) if prefix.address() == address => Ok(prefix),
        Some(prefix) => Err(error(format!("{text} has bits beyond its length; {prefix} has none"))),
        None => Err(error(format!("a prefix of {length} bits is longer than its address"))),
    }
}

/// The set of the items, each of which is checked in its place.
fn services(items: &[Spanned<String>], source: &ConfigSource) -> Result<ServiceSet, ConfigError> {
    for item in items {
        if let Err(error) = item.get_ref().parse::<Service>() {
            return Err(source.error_at(item.span(), error.to_string()));
        }
    }
    let names: Vec<_> = items.iter().map(Spanned::get_ref).collect();
    ServiceSet::parse(&names).map_err(|error| source.error(error.to_string()))
}

#[cfg(test)]
mod manual;
