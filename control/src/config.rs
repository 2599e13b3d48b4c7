//! `control.toml`.

use crate::files::ownership::{NumberOrName, OwnershipKeys};
use control_core::{
    Addressing, Exposure, RefusedSymbol, RoutesConfig, SymbolConfig, Translation, Weight,
    default_control_address,
};
use core::net::IpAddr;
use core::time::Duration;
use frames::ProtocolAddress;
use frames::discovery::Role;
use l2link::route_text::RouteText;
use l2link::rule_text::{RuleText, RuleTextError};
use l2link::service::{Service, ServiceSet};
use l2link_os::config_file::{
    self, ApiSection, ConfigError, ConfigSource, LinkSection, LinkSettings, MetricsSection, MetricsSettings,
    PeerSection, PeerSettings, TableWord, device_name, interface_name, routing_table, static_routes,
};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// What a valid configuration says.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) link: LinkSettings,
    /// Where the command socket is.
    pub(crate) socket: PathBuf,
    /// Where figures for monitoring are to be had.
    pub(crate) metrics: Option<MetricsSettings>,
    /// How long symbols are kept after this daemon; zero for not at all.
    pub(crate) keep_symbols: Duration,
    /// How long a symbol keeps its carrier without contact to its relay.
    pub(crate) carrier_hold: Duration,
    pub(crate) symbols: Vec<SymbolSettings>,
    /// Where the files of symbols are mounted.
    pub(crate) files: PathBuf,
    /// Whose the addresses of ports are.
    pub(crate) addressing: Addressing,
    /// Which routes relays are told.
    pub(crate) routes: Option<RoutesConfig>,
    /// Routes by hand.
    pub(crate) static_routes: Vec<RouteText>,
    /// What is decided about relays.
    pub(crate) peers: Vec<PeerSettings>,
    /// Symbols that contradict earlier ones, and are left out.
    pub(crate) refused: Vec<(ConfigError, RefusedSymbol)>,
    /// What the operator should be told at every start.
    pub(crate) warnings: Vec<String>,
}

/// One symbol: what the core has to know, and what only the shell has to.
#[derive(Debug)]
pub(crate) struct SymbolSettings {
    pub(crate) core: SymbolConfig,
    /// Default routes by way of the symbol, at most one for each version of IP.
    pub(crate) gateways: Vec<IpAddr>,
    /// Whether an address symbol is the way of all that has no other.
    pub(crate) default_route: bool,
    /// Rules by hand.
    pub(crate) rules: Vec<ProtocolAddress>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    keep_symbols_ms: Option<Spanned<u64>>,
    carrier_hold_ms: Option<Spanned<u64>>,
    link: LinkSection,
    #[serde(default)]
    api: ApiSection,
    metrics: Option<MetricsSection>,
    #[serde(default)]
    files: FilesSection,
    #[serde(default)]
    symbol: Vec<SymbolSection>,
    routes: Option<RoutesSection>,
    #[serde(default)]
    peer: Vec<PeerSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SymbolSection {
    kind: Option<Spanned<Kind>>,
    relay: Spanned<String>,
    port: Spanned<String>,
    name: Option<Spanned<String>>,
    netns: Option<Spanned<String>>,
    services: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    gateway: Vec<Spanned<IpAddr>>,
    address: Option<Spanned<IpAddr>>,
    local: Option<Spanned<IpAddr>>,
    default_route: Option<Spanned<bool>>,
    weight: Option<Spanned<WeightWord>>,
    uid: Option<Spanned<NumberOrName>>,
    gid: Option<Spanned<NumberOrName>>,
    mode: Option<Spanned<NumberOrName>>,
    detect: Option<Spanned<bool>>,
    #[serde(default)]
    rules: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesSection {
    mount: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Interface,
    Address,
    Files,
}

/// `weight`
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum WeightWord {
    Number(i64),
    Word(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutesSection {
    enabled: bool,
    tables: Option<Vec<Spanned<TableWord>>>,
    netns: Option<Vec<Spanned<String>>>,
    #[serde(default, rename = "static")]
    by_hand: Vec<Spanned<String>>,
}

/// Where files are mounted unless the file says.
const FILES: &str = "/run/l2link/files";
/// Time for a restart by hand, or by a service manager after a crash.
const KEEP_SYMBOLS: Duration = Duration::from_secs(60);
/// Time for a relay or control to restart, and too short for most routing protocols to give a neighbor up (OSPF: 40 s,
/// BGP: 180 s).
const CARRIER_HOLD: Duration = Duration::from_secs(3);
/// Most that either may be.
const HOUR_MS: u64 = 3_600_000;

impl Settings {
    /// Reads and checks the file.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::check(config_file::load(path)?)
    }

    /// Checks a text that is to be the file.
    pub(crate) fn parse(path: &Path, text: String) -> Result<Self, ConfigError> {
        Self::check(config_file::parse(path, text)?)
    }

    fn check((file, source): (File, ConfigSource)) -> Result<Self, ConfigError> {
        let link = file.link.check(Role::Control, &file.peer, &source)?;
        let socket = file.api.check(Role::Control, &source)?;
        let mut settings = Self {
            metrics: file.metrics.as_ref().map(|metrics| metrics.check(&socket, &source)).transpose()?,
            name: device_name(&file.name, &source)?,
            warnings: link.warnings.clone(),
            addressing: match link.addressing {
                config_file::Addressing::Relay => Addressing::Relay,
                config_file::Addressing::Control => Addressing::Control,
            },
            link,
            socket,
            keep_symbols: duration(&file.keep_symbols_ms, "keep_symbols_ms", KEEP_SYMBOLS, &source)?,
            carrier_hold: duration(&file.carrier_hold_ms, "carrier_hold_ms", CARRIER_HOLD, &source)?,
            symbols: file
                .symbol
                .iter()
                .map(|section| section.check(file.name.get_ref(), &source))
                .collect::<Result<Vec<_>, ConfigError>>()?,
            files: file.files.check(&source)?,
            routes: None,
            static_routes: Vec::new(),
            peers: PeerSettings::check(&file.peer, &source)?,
            refused: Vec::new(),
        };
        settings.leave_out(&file.symbol, &source);
        for SymbolSection { relay, .. } in &file.symbol {
            if !settings.link.may_meet(relay.get_ref()) {
                let (place, name) = (source.location(relay.span()), relay.get_ref());
                settings
                    .warnings
                    .push(format!("{place}: no [[peer]] has a public key for relay {name}: it cannot come"));
            }
        }
        settings.routes = match &file.routes {
            Some(routes) => {
                settings.static_routes = routes.by_hand(&settings, &source)?;
                routes.check(&settings.symbols, &source)?
            }
            None => None,
        };
        Ok(settings)
    }
}

impl FilesSection {
    fn check(&self, source: &ConfigSource) -> Result<PathBuf, ConfigError> {
        let Some(mount) = &self.mount else { return Ok(PathBuf::from(FILES)) };
        let path = source.resolve(mount.get_ref());
        if path.file_name().is_none() {
            let message = format!("files cannot be mounted at {}", path.display());
            return Err(source
                .error_at(mount.span(), message)
                .help("use an empty directory, or one that is to be made"));
        }
        Ok(path)
    }
}

impl RoutesSection {
    fn check(
        &self,
        symbols: &[SymbolSettings],
        source: &ConfigSource,
    ) -> Result<Option<RoutesConfig>, ConfigError> {
        let mut routes = RoutesConfig::default();
        if let Some(tables) = &self.tables {
            routes.tables =
                tables.iter().map(|word| routing_table(word, source)).collect::<Result<_, _>>()?;
        }
        for name in self.netns.iter().flatten() {
            let text = namespace_name(name, source)?;
            if !symbols.iter().any(|symbol| symbol.core.netns.as_ref() == Some(&text)) {
                return Err(source
                    .error_at(name.span(), format!("no symbol is in the namespace {text}"))
                    .help(
                        "name the `netns` of a [[symbol]]; without `netns` here the routes of all are told",
                    ));
            }
            routes.netns.get_or_insert_default().insert(text);
        }
        Ok(self.enabled.then_some(routes))
    }

    /// Routes by hand: they lead by symbols.
    fn by_hand(&self, settings: &Settings, source: &ConfigSource) -> Result<Vec<RouteText>, ConfigError> {
        let routes = static_routes(&self.by_hand, source)?;
        for (word, route) in self.by_hand.iter().zip(&routes) {
            let is_symbol = |name: &String| {
                let named =
                    |symbol: &SymbolSettings| symbol.core.name == *name && symbol.core.translation.is_none();
                // One that is left out is told of elsewhere.
                settings.symbols.iter().any(named)
                    || settings.refused.iter().any(|(_, symbol)| symbol.name == *name)
            };
            if let Some(hop) = route.nexthops.iter().find(|hop| !is_symbol(&hop.dev)) {
                return Err(source
                    .error_at(word.span(), format!("no symbol of kind interface is called {}", hop.dev))
                    .help("behind dev stands the `name` of a [[symbol]], or its `port` if it has no name"));
            }
        }
        Ok(routes)
    }
}

impl SymbolSection {
    fn check(&self, control: &str, source: &ConfigSource) -> Result<SymbolSettings, ConfigError> {
        let kind = self.kind.as_ref().map_or(Kind::Interface, |kind| *kind.get_ref());
        let translation = match kind {
            Kind::Address => Some(self.translation(control, source)?),
            Kind::Interface | Kind::Files => {
                self.no_address(source)?;
                None
            }
        };
        let ownership =
            OwnershipKeys { uid: self.uid.as_ref(), gid: self.gid.as_ref(), mode: self.mode.as_ref() };
        let files = if kind == Kind::Files {
            self.no_interface(source)?;
            Some(ownership.check(source)?)
        } else if let Some(span) = ownership.span() {
            let message = "`uid`, `gid` and `mode` are of kind = \"files\"".to_owned();
            return Err(source.error_at(span, message).help("write kind = \"files\", or leave them out"));
        } else {
            None
        };
        let port = interface_name(&self.port, source)?;
        let name = self.name.as_ref().map(|name| interface_name(name, source)).transpose()?;
        let netns = self.netns.as_ref().map(|netns| namespace_name(netns, source)).transpose()?;
        let exposure = match &self.services {
            Some(services) => Exposure::only(service_set(services, source)?),
            // Whoever opens a file means it.
            None if kind == Kind::Files => Exposure::only(ServiceSet::all()),
            None => Exposure::standard(netns.is_none()),
        };
        let relay = device_name(&self.relay, source)?;
        let name = name.unwrap_or_else(|| port.clone());
        let rules = self.rules(&exposure, source)?;
        let (weight, detect) =
            (self.weight(source)?, self.detect.as_ref().is_none_or(|detect| *detect.get_ref()));
        let core = SymbolConfig { relay, name, port, netns, exposure, translation, files, weight, detect };
        let default_route = self.default_route.as_ref().is_some_and(|wanted| *wanted.get_ref());
        Ok(SymbolSettings { core, gateways: self.gateways(source)?, default_route, rules })
    }

    /// Rules by hand: what the symbol exposes.
    fn rules(&self, exposure: &Exposure, source: &ConfigSource) -> Result<Vec<ProtocolAddress>, ConfigError> {
        let rule = |text: &Spanned<String>| {
            let error = |message: String| source.error_at(text.span(), message);
            let RuleText(address) =
                text.get_ref().parse().map_err(|why: RuleTextError| error(why.to_string()))?;
            let exposed = match address {
                ProtocolAddress::Flow { protocol, local_port, .. } => exposure.sends(protocol, local_port),
                ProtocolAddress::Listener { .. }
                | ProtocolAddress::IpProtocol { .. }
                | ProtocolAddress::EtherType(_) => exposure.listens(&address),
            };
            if exposed {
                return Ok(address);
            }
            let message = format!("a rule for what the symbol does not expose: {}", text.get_ref());
            Err(error(message).help("name it in `services`; without `services` a few ports are hidden"))
        };
        self.rules.iter().map(rule).collect()
    }

    /// The addresses of a symbol of kind `address`.
    fn translation(&self, control: &str, source: &ConfigSource) -> Result<Translation, ConfigError> {
        let Some(address) = &self.address else {
            let error = source
                .error_at(self.port.span(), "a symbol of kind \"address\" without `address`".to_owned());
            return Err(error.help("write the address of the relay's port that it stands for"));
        };
        if let Some(gateway) = self.gateway.first() {
            let message = "a symbol of kind \"address\" has no gateway: the relay knows the way".to_owned();
            return Err(source.error_at(gateway.span(), message).help("use default_route = true"));
        }
        let virtual_address = host_address(address, source)?;
        let control_address = match &self.local {
            None => default_control_address(control, self.relay.get_ref(), virtual_address),
            Some(local) => {
                let own = host_address(local, source)?;
                if own.is_ipv4() != virtual_address.is_ipv4() || own == virtual_address {
                    let message = format!("{own} cannot stand for {virtual_address}");
                    let help = "use another address of the same version of IP, or leave `local` out";
                    return Err(source.error_at(local.span(), message).help(help));
                }
                own
            }
        };
        Ok(Translation { virtual_address, control_address })
    }

    /// Refuses what only symbols of kind `address` have.
    fn no_address(&self, source: &ConfigSource) -> Result<(), ConfigError> {
        let span = [&self.address, &self.local].into_iter().flatten().map(Spanned::span).next();
        let span = span.or_else(|| self.default_route.as_ref().map(Spanned::span));
        match span {
            None => Ok(()),
            Some(span) => {
                let message = "`address`, `local` and `default_route` are of kind = \"address\"".to_owned();
                Err(source.error_at(span, message).help("write kind = \"address\", or leave them out"))
            }
        }
    }

    /// Refuses what a symbol of kind `files` does not have.
    fn no_interface(&self, source: &ConfigSource) -> Result<(), ConfigError> {
        let error = |span, message: &str, help: &str| {
            Err(source.error_at(span, message.to_owned()).help(help.to_owned()))
        };
        if let Some(netns) = &self.netns {
            let message = "a symbol of kind \"files\" is in no namespace: files are for all programs";
            return error(
                netns.span(),
                message,
                "leave `netns` out; `uid`, `gid` and `mode` say whose they are",
            );
        }
        if let Some(gateway) = self.gateway.first() {
            let message = "a symbol of kind \"files\" has no gateway: the relay knows the way";
            return error(gateway.span(), message, "leave `gateway` out");
        }
        if let Some(rule) = self.rules.first() {
            let message = "a symbol of kind \"files\" has no rules by hand: an open file is one";
            return error(rule.span(), message, "leave `rules` out");
        }
        if let Some(detect) = self.detect.as_ref().filter(|detect| !detect.get_ref()) {
            let message = "a symbol of kind \"files\" has its rules from open files only";
            return error(detect.span(), message, "leave `detect` out");
        }
        match &self.weight {
            Some(weight) if matches!(weight.get_ref(), WeightWord::Word(_)) => {
                let message = "a symbol of kind \"files\" has no queue of connections to weigh it by";
                error(weight.span(), message, "write a number, or leave `weight` out")
            }
            _ => Ok(()),
        }
    }

    fn weight(&self, source: &ConfigSource) -> Result<Weight, ConfigError> {
        let Some(configured) = &self.weight else { return Ok(Weight::default()) };
        let shown = match configured.get_ref() {
            WeightWord::Number(number) => match u16::try_from(*number) {
                Ok(weight @ 1..) => return Ok(Weight::Fixed(weight)),
                _ => number.to_string(),
            },
            WeightWord::Word(word) if word == "auto" => return Ok(Weight::Auto),
            WeightWord::Word(word) => format!("{word:?}"),
        };
        let message = format!("weight is {shown}; 1 to {} are allowed, and \"auto\"", u16::MAX);
        let help = format!("leave it out for {}", Weight::USUAL);
        Err(source.error_at(configured.span(), message).help(help))
    }

    fn gateways(&self, source: &ConfigSource) -> Result<Vec<IpAddr>, ConfigError> {
        let mut gateways: Vec<IpAddr> = Vec::new();
        for gateway in &self.gateway {
            let address = *gateway.get_ref();
            let error = |message: String| source.error_at(gateway.span(), message);
            if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
                return Err(
                    error(format!("{address} cannot be a gateway")).help("use the address of a router")
                );
            }
            if let Some(other) = gateways.iter().find(|other| other.is_ipv4() == address.is_ipv4()) {
                let version = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                let message = format!("a second gateway for {version}: {other} is one already");
                return Err(error(message).help("at most one gateway for each version of IP"));
            }
            gateways.push(address);
        }
        Ok(gateways)
    }
}

/// The address of a host, and not on one network only.
fn host_address(address: &Spanned<IpAddr>, source: &ConfigSource) -> Result<IpAddr, ConfigError> {
    let host = *address.get_ref();
    let narrow = match host {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    if narrow || host.is_unspecified() || host.is_multicast() || host.is_loopback() {
        let message = format!("{host} cannot be the address of a symbol");
        return Err(source
            .error_at(address.span(), message)
            .help("use an address that other hosts can reach"));
    }
    Ok(host)
}

/// A time in ms, and its value if the file does not say.
fn duration(
    configured: &Option<Spanned<u64>>,
    key: &str,
    default: Duration,
    source: &ConfigSource,
) -> Result<Duration, ConfigError> {
    let Some(configured) = configured else { return Ok(default) };
    let value = *configured.get_ref();
    if value <= HOUR_MS {
        return Ok(Duration::from_millis(value));
    }
    let message = format!("{key} is {value}; 0 to {HOUR_MS} are allowed");
    Err(source.error_at(configured.span(), message))
}

/// A symbol in the words of a `[[symbol]]`, beside those that there are.
pub(crate) fn symbol_by_hand(
    text: String,
    control: &str,
    present: &[&SymbolConfig],
) -> Result<SymbolSettings, ConfigError> {
    let (section, source) = config_file::parse::<SymbolSection>(Path::new("symbol"), text)?;
    let symbol = section.check(control, &source)?;
    match contradiction(&section, &symbol.core, present) {
        None => Ok(symbol),
        Some(Contradiction { place, message, help }) => Err(source.error_at(place, message).help(help)),
    }
}

impl Settings {
    /// Leaves symbols out that contradict earlier ones: the rest goes on.
    fn leave_out(&mut self, sections: &[SymbolSection], source: &ConfigSource) {
        let mut kept: Vec<SymbolSettings> = Vec::new();
        for (section, symbol) in sections.iter().zip(std::mem::take(&mut self.symbols)) {
            let present: Vec<&SymbolConfig> = kept.iter().map(|symbol| &symbol.core).collect();
            let Some(contradiction) = contradiction(section, &symbol.core, &present) else {
                kept.push(symbol);
                continue;
            };
            let Contradiction { place, message, help } = contradiction;
            let kind = symbol.core.kind();
            let SymbolConfig { relay, port, name, netns, .. } = symbol.core;
            let refused =
                RefusedSymbol { kind: kind.to_owned(), relay, port, name, netns, reason: message.clone() };
            self.refused.push((source.error_at(place, message).help(help), refused));
        }
        self.symbols = kept;
    }
}

/// Why a symbol cannot be beside an earlier one.
struct Contradiction {
    place: core::ops::Range<usize>,
    message: String,
    help: &'static str,
}

/// Two symbols cannot have one interface, two of one port in one namespace would be one station twice, and an address has
/// one symbol.
fn contradiction(
    section: &SymbolSection,
    own: &SymbolConfig,
    earlier: &[&SymbolConfig],
) -> Option<Contradiction> {
    let same_port = |other: &&SymbolConfig| (&other.relay, &other.port) == (&own.relay, &own.port);
    if own.files.is_some() {
        let mut others = earlier.iter().copied().filter(|other| other.files.is_some());
        return others.find(same_port).map(|_| Contradiction {
            place: section.port.span(),
            message: format!("a second symbol of kind \"files\" of port {} of {}", own.port, own.relay),
            help: "one serves all programs",
        });
    }
    let beside = || {
        let interfaces = earlier.iter().copied().filter(|other| other.files.is_none());
        interfaces.filter(|other| other.netns == own.netns)
    };
    let is_interface = |symbol: &&SymbolConfig| symbol.translation.is_none();
    if is_interface(&own)
        && let Some(other) = beside().filter(is_interface).find(same_port)
    {
        return Some(Contradiction {
            place: section.port.span(),
            message: format!(
                "a second symbol of port {} of {} in one namespace: {} is one already",
                own.port, own.relay, other.name
            ),
            help: "one symbol serves all programs of its namespace; give this one another `netns`",
        });
    }
    if beside().any(|other| other.name == own.name) {
        return Some(Contradiction {
            place: section.name.as_ref().unwrap_or(&section.port).span(),
            message: format!("a second symbol with the interface name {}", own.name),
            help: "give it another `name`, or another `netns`",
        });
    }
    let translation = own.translation?;
    let clash = |other: &&&SymbolConfig| {
        other.relay == own.relay
            && other.translation.is_some_and(|other| {
                other.virtual_address == translation.virtual_address
                    || other.control_address == translation.control_address
            })
    };
    let (other, place) = (earlier.iter().find(clash)?, section.address.as_ref()?);
    Some(Contradiction {
        place: place.span(),
        message: format!("{translation}: claimed twice, by symbol {} already", other.name),
        help: "one symbol for each address",
    })
}

fn namespace_name(name: &Spanned<String>, source: &ConfigSource) -> Result<String, ConfigError> {
    let text = name.get_ref();
    if text.is_empty() || text.contains('/') || text == "." || text == ".." {
        let error =
            source.error_at(name.span(), format!("{text:?} cannot be the name of a network namespace"));
        return Err(
            error.help("`ip netns` lists the namespaces; without `netns` the symbol is in the daemon's own")
        );
    }
    Ok(text.clone())
}

fn service_set(services: &[Spanned<String>], source: &ConfigSource) -> Result<ServiceSet, ConfigError> {
    for service in services {
        let parsed: Result<Service, _> = service.get_ref().parse();
        parsed.map_err(|error| source.error_at(service.span(), error.to_string()))?;
    }
    let items: Vec<&str> = services.iter().map(|service| service.get_ref().as_str()).collect();
    ServiceSet::parse(&items).map_err(|error| source.error(error.to_string()))
}

#[cfg(test)]
mod manual;
