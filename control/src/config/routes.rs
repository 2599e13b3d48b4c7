//! `[routes]`.

use super::symbol::SymbolSettings;
use super::{Settings, namespace_name};
use control_core::RoutesConfig;
use l2link::route_text::RouteText;
use l2link_os::config_file::{ConfigError, ConfigSource, TableWord, routing_table, static_routes};
use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoutesSection {
    enabled: bool,
    tables: Option<Vec<Spanned<TableWord>>>,
    netns: Option<Vec<Spanned<String>>>,
    #[serde(default, rename = "static")]
    by_hand: Vec<Spanned<String>>,
}

impl RoutesSection {
    pub(super) fn check(
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
    pub(super) fn by_hand(
        &self,
        settings: &Settings,
        source: &ConfigSource,
    ) -> Result<Vec<RouteText>, ConfigError> {
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
