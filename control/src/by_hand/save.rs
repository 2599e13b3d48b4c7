//! Changes by hand on their way into the configuration file.

use super::{Answered, Reply};
use crate::config::{Settings, SymbolSettings};
use crate::daemon::Daemon;
use frames::{ProtocolAddress, SymbolId};
use l2link::route_text::RouteText;
use l2link::rule_text::RuleText;
use l2link_os::api::success;
use l2link_os::config_file::edit::{add_text, remove_texts};
use l2link_os::config_file::saver::{Command, not_saved};
use l2link_os::config_file::{ConfigEdit, ConfigError, NewText, remove_route, save_route};
use l2link_os::reload::NOT_SAVED;
use serde_json::{Map, Value as Json};
use toml_edit::{Array, Item, Table, Value, value};

impl Daemon {
    /// Writes a rule into its symbol's `rules`, or takes it out.
    pub(super) fn save_rule(
        &mut self,
        symbol: SymbolId,
        rule: RuleText,
        wanted: bool,
        reply: Reply,
    ) -> Answered {
        let Some(settings) = self.settings.get(&symbol) else { return Ok(Some(success(reply.rows))) };
        let (name, netns) = (&settings.core.name, settings.core.netns.as_deref());
        let at = |rule: RuleText| self.control.rule_at(symbol, rule.0);
        let text = self.edited(|edit| {
            let kind = settings.core.kind();
            let Some(table) = edit.element("symbol", |table| is_symbol(table, name, netns, Some(kind)))
            else {
                let message = format!("symbol {name} is not in it: it was made by hand");
                let help = "the rule is in force; save the symbol first: `symbol del` it, then `symbol add … --save`";
                return Err(ConfigError::of_file(&self.config_file, message).help(help));
            };
            let same = |text: &str| text.parse().is_ok_and(|known| at(known) == at(rule));
            remove_texts(table, "rules", same);
            if wanted {
                add_text(table, "rules", &rule.to_string());
            }
            Ok(())
        })?;
        let core = settings.core.clone();
        self.save(text, reply, move |daemon| {
            let is_it = |known: &&mut SymbolSettings| {
                (&known.core.name, &known.core.netns, known.core.kind())
                    == (&core.name, &core.netns, core.kind())
            };
            let control = &daemon.control;
            if let Some(known) = daemon.reloads.in_force_mut().symbols.iter_mut().find(is_it) {
                let at = |rule: &ProtocolAddress| control.rule_at(symbol, *rule);
                known.rules.retain(|known| at(known) != at(&rule.0));
                known.rules.extend(wanted.then_some(rule.0));
            }
        })
    }

    pub(super) fn save_new_symbol(&mut self, id: SymbolId, table: Table, reply: Reply) -> Answered {
        let text = self.edited(|edit| edit.add_element("symbol", table))?;
        let settings = self.settings.get(&id).cloned();
        self.save(text, reply, |daemon| daemon.reloads.in_force_mut().symbols.extend(settings))
    }

    /// Takes a symbol out, and the routes that led by it.
    pub(super) fn save_without_symbol(
        &mut self,
        name: String,
        netns: Option<String>,
        kind: Option<String>,
        routes: Vec<RouteText>,
        reply: Reply,
    ) -> Answered {
        let text = self.edited(|edit| {
            edit.remove_elements("symbol", |table| {
                is_symbol(table, &name, netns.as_deref(), kind.as_deref())
            });
            routes.iter().for_each(|route| _ = remove_route(edit, route));
            Ok(())
        })?;
        self.save(text, reply, move |daemon| {
            let saved = daemon.reloads.in_force_mut();
            saved.symbols.retain(|SymbolSettings { core, .. }| {
                core.name != name
                    || core.netns != netns
                    || kind.as_deref().is_some_and(|kind| core.kind() != kind)
            });
            saved.static_routes.retain(|route| !routes.contains(route));
        })
    }

    pub(super) fn save_route(&mut self, route: RouteText, reply: Reply) -> Answered {
        // Of itself the section is about routes of others.
        let text = self.edited(|edit| save_route(edit, &route, |table| table["enabled"] = value(false)))?;
        self.save(text, reply, |daemon| {
            let saved = &mut daemon.reloads.in_force_mut().static_routes;
            saved.retain(|known| known.key() != route.key() || known.netns != route.netns);
            saved.push(route);
        })
    }

    pub(super) fn save_without_route(&mut self, route: RouteText, reply: Reply) -> Answered {
        let text = self.edited(|edit| {
            remove_route(edit, &route);
            Ok(())
        })?;
        self.save(text, reply, move |daemon| {
            daemon.reloads.in_force_mut().static_routes.retain(|known| *known != route);
        })
    }

    /// Writes what is decided about a relay.
    pub(super) fn save_peer(&mut self, name: &str, reply: Reply) -> Answered {
        let settings = self.peer_settings(name);
        let text = self.edited(|edit| settings.save(edit))?;
        self.save(text, reply, move |daemon| settings.put_into(&mut daemon.reloads.in_force_mut().peers))
    }

    /// The configuration file with a change.
    fn edited(
        &self,
        change: impl FnOnce(&mut ConfigEdit) -> Result<(), ConfigError>,
    ) -> Result<NewText, String> {
        if self.reloads.is_on_trial() {
            return Err(NOT_SAVED.to_owned());
        }
        let edited = || {
            let mut edit = ConfigEdit::open(&self.config_file)?;
            change(&mut edit)?;
            edit.finish(|path, text| match Settings::parse(path, text)?.refused.into_iter().next() {
                Some((contradiction, _)) => Err(contradiction),
                None => Ok(()),
            })
        };
        edited().map_err(not_saved)
    }

    /// Begins to write it. The answer comes when that is done, and `then` with it.
    fn save(&mut self, text: NewText, reply: Reply, then: impl FnOnce(&mut Self) + 'static) -> Answered {
        let Reply { client, rows } = reply;
        self.saver.save(text, Command { client, rows, then: Box::new(then) })?;
        Ok(None)
    }
}

/// Whether a `[[symbol]]` is the one of this name, namespace and kind, if that is known.
fn is_symbol(table: &Table, name: &str, netns: Option<&str>, kind: Option<&str>) -> bool {
    let word = |key: &str| table.get(key).and_then(Item::as_str);
    word("name").or_else(|| word("port")) == Some(name)
        && word("netns") == netns
        && kind.is_none_or(|kind| word("kind").unwrap_or("interface") == kind)
}

/// A `[[symbol]]` of the keys of a request, in the usual order.
pub(super) fn element(keys: &Map<String, Json>) -> Result<Table, String> {
    let mut table = Table::new();
    let known = ORDER.into_iter().filter_map(|key| keys.get_key_value(key));
    let others = keys.iter().filter(|(key, _)| !ORDER.contains(&key.as_str()));
    for (key, json) in known.chain(others).filter(|(_, json)| !json.is_null()) {
        let written =
            written(json).ok_or_else(|| format!("{key} is {json}, which a [[symbol]] cannot have"))?;
        table.insert(key, Item::Value(written));
    }
    Ok(table)
}

const ORDER: [&str; 16] = [
    "kind",
    "relay",
    "port",
    "name",
    "netns",
    "services",
    "gateway",
    "address",
    "local",
    "default_route",
    "weight",
    "uid",
    "gid",
    "mode",
    "detect",
    "rules",
];

fn written(json: &Json) -> Option<Value> {
    match json {
        Json::Bool(word) => Some((*word).into()),
        Json::Number(number) => number.as_i64().map(Value::from),
        Json::String(text) => Some(text.as_str().into()),
        Json::Array(items) => {
            let mut array = Array::new();
            for item in items {
                array.push(written(item)?);
            }
            Some(array.into())
        }
        Json::Null | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_symbol_is_written_in_the_usual_order() {
        let keys =
            json!({"rules": ["tcp/80"], "port": "eth1", "netns": null, "relay": "relay1", "detect": false});
        let table = element(keys.as_object().unwrap()).unwrap();
        assert_eq!(
            table.to_string(),
            "relay = \"relay1\"\nport = \"eth1\"\ndetect = false\nrules = [\"tcp/80\"]\n"
        );
    }

    #[test]
    fn what_toml_cannot_have_is_refused() {
        let error = element(json!({"port": {"a": 1}}).as_object().unwrap()).unwrap_err();
        assert!(error.starts_with("port is {\"a\":1}"), "{error}");
    }

    #[test]
    fn a_symbol_without_a_name_is_called_by_its_port() {
        let mut table = Table::new();
        table["port"] = value("eth1");
        assert!(is_symbol(&table, "eth1", None, None) && !is_symbol(&table, "eth1", Some("a"), None));
        table["name"] = value("web");
        table["netns"] = value("a");
        assert!(is_symbol(&table, "web", Some("a"), None) && !is_symbol(&table, "eth1", Some("a"), None));
        assert!(is_symbol(&table, "web", Some("a"), Some("interface")));
        assert!(!is_symbol(&table, "web", Some("a"), Some("files")));
    }
}
