//! `[[symbol]]`.

use super::contradiction::{Contradiction, contradiction};
use super::namespace_name;
use crate::files::ownership::{NumberOrName, OwnershipKeys};
use control_core::{Exposure, SymbolConfig, Translation, Weight, default_control_address};
use core::net::IpAddr;
use frames::ProtocolAddress;
use l2link::rule_text::{RuleText, RuleTextError};
use l2link::service::{Service, ServiceSet};
use l2link_os::config_file::{self, ConfigError, ConfigSource, device_name, interface_name};
use serde::Deserialize;
use std::path::Path;
use toml::Spanned;

/// One symbol: what the core has to know, and what only the shell has to.
#[derive(Debug, Clone)]
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
pub(super) struct SymbolSection {
    kind: Option<Spanned<Kind>>,
    pub(super) relay: Spanned<String>,
    pub(super) port: Spanned<String>,
    pub(super) name: Option<Spanned<String>>,
    netns: Option<Spanned<String>>,
    services: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    gateway: Vec<Spanned<IpAddr>>,
    pub(super) address: Option<Spanned<IpAddr>>,
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

impl SymbolSection {
    pub(super) fn check(&self, control: &str, source: &ConfigSource) -> Result<SymbolSettings, ConfigError> {
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

fn service_set(services: &[Spanned<String>], source: &ConfigSource) -> Result<ServiceSet, ConfigError> {
    for service in services {
        let parsed: Result<Service, _> = service.get_ref().parse();
        parsed.map_err(|error| source.error_at(service.span(), error.to_string()))?;
    }
    let items: Vec<&str> = services.iter().map(|service| service.get_ref().as_str()).collect();
    ServiceSet::parse(&items).map_err(|error| source.error(error.to_string()))
}
