//! `control.toml`.

mod contradiction;
mod routes;
mod symbol;

pub(crate) use contradiction::clash;
pub(crate) use symbol::{SymbolSettings, symbol_by_hand};

use crate::trigger::Detection;
use control_core::{Addressing, RefusedSymbol, RoutesConfig};
use core::time::Duration;
use frames::discovery::Role;
use l2link::route_text::RouteText;
use l2link_os::config_file::{
    self, ApiSection, ApiSettings, ConfigError, ConfigSource, LinkSection, LinkSettings, MetricsSection,
    MetricsSettings, PeerSection, PeerSettings, device_name, without_restart,
};
use routes::RoutesSection;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use symbol::SymbolSection;
use toml::Spanned;

/// What a valid configuration says.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) link: LinkSettings,
    /// The command socket.
    pub(crate) api: ApiSettings,
    /// Where figures for monitoring are to be had.
    pub(crate) metrics: Option<MetricsSettings>,
    /// What is to tell of sockets.
    pub(crate) detection: Detection,
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
    /// The file.
    pub(crate) source: ConfigSource,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    #[serde(default)]
    detection: Detection,
    keep_symbols_ms: Option<Spanned<u64>>,
    carrier_hold_ms: Option<Spanned<u64>>,
    link: LinkSection,
    #[serde(default)]
    api: ApiSection,
    metrics: Option<Spanned<MetricsSection>>,
    #[serde(default)]
    files: FilesSection,
    #[serde(default)]
    symbol: Vec<SymbolSection>,
    routes: Option<RoutesSection>,
    #[serde(default)]
    peer: Vec<PeerSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesSection {
    mount: Option<Spanned<PathBuf>>,
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
        let api = file.api.check(Role::Control, &source)?;
        let metrics = file.metrics.as_ref().map(|section| MetricsSection::check(section, &api, &source));
        let mut settings = Self {
            metrics: metrics.transpose()?,
            name: device_name(&file.name, &source)?,
            warnings: link.warnings.clone(),
            addressing: match link.addressing {
                config_file::Addressing::Relay => Addressing::Relay,
                config_file::Addressing::Control => Addressing::Control,
            },
            link,
            api,
            detection: file.detection,
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
            source: source.clone(),
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

    /// Whether a daemon that runs by `before` can go on by these.
    pub(crate) fn without_restart(&self, before: &Self) -> Result<(), ConfigError> {
        without_restart((&before.source, &before.link), (&self.source, &self.link))
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

#[cfg(test)]
mod manual;
