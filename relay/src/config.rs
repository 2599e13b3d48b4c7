//! `relay.toml`.

use frames::discovery::Role;
use l2link::service::{Service, ServiceSet};
use l2link_os::config_file::{
    ApiSection, ConfigError, ConfigSource, LinkSection, LinkSettings, device_name, interface_name, load,
};
use l2link_os::{PortDiscard, Spared};
use relay_core::police::Limits;
use relay_core::{ControlName, Permission, PortConfig, RelayConfig, Unmatched};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// What a valid configuration file says.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) link: LinkSettings,
    pub(crate) relay: RelayConfig,
    pub(crate) api_socket: PathBuf,
    /// What the operator should be told at every start.
    pub(crate) warnings: Vec<String>,
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    link: LinkSection,
    #[serde(default)]
    api: ApiSection,
    #[serde(default)]
    port: Vec<PortSection>,
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
    allow: Vec<AllowSection>,
}

/// `[[port.allow]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowSection {
    control: Spanned<String>,
    services: Option<Vec<Spanned<String>>>,
    routes: Option<Spanned<bool>>,
}

/// Values of `unmatched`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UnmatchedWord {
    #[default]
    Drop,
    Kernel,
}

impl Settings {
    /// Reads and checks the file, and the key file with it.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let (file, source) = load::<File>(path)?;
        let name = device_name(&file.name, &source)?;
        let link = file.link.check(&source)?;
        let api_socket = file.api.check(Role::Relay, &source)?;
        let mut warnings = link.warnings.clone();
        let ports = ports(&file, &source, &mut warnings)?;
        let relay = RelayConfig { name, ethertype: link.ethertype, ports, limits: Limits::default() };
        Ok(Self { link, relay, api_socket, warnings })
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

impl PortSection {
    fn check(&self, source: &ConfigSource, warnings: &mut Vec<String>) -> Result<PortConfig, ConfigError> {
        let interface = interface_name(&self.interface, source)?;
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
            allow: self.allow.iter().map(|allow| allow.check(source, warnings)).collect::<Result<_, _>>()?,
            interface,
        })
    }
}

impl AllowSection {
    fn check(&self, source: &ConfigSource, warnings: &mut Vec<String>) -> Result<Permission, ConfigError> {
        let control = match self.control.get_ref().as_str() {
            "*" => ControlName::Any,
            _ => ControlName::Named(device_name(&self.control, source)?),
        };
        let services = match &self.services {
            Some(items) => services(items, source)?,
            None => ServiceSet::all(),
        };
        if let Some(routes) = self.routes.as_ref().filter(|routes| *routes.get_ref()) {
            let place = source.location(routes.span());
            warnings.push(format!("{place}: routes = true has no effect: this version takes no routes"));
        }
        let routes = self.routes.as_ref().is_some_and(|routes| *routes.get_ref());
        Ok(Permission { control, services, routes })
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
