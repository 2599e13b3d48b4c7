//! Commands that change something in a running daemon: `rule`, `symbol`, `route` and `peer`.
//!
//! What they ask for is checked by the daemon, and by whom it asks; here are only the words.

use crate::columns::Object;
use crate::{Failure, daemon, table};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;

/// Words that most commands share.
#[derive(Debug, Args)]
pub(crate) struct Lasting {
    /// Write it into the daemon's configuration file as well, so that it is there after a restart
    #[arg(long)]
    save: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RuleCommand {
    /// Have packets sent up to this control's symbol that no socket asks for
    Add {
        #[command(flatten)]
        rule: Rule,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Have them sent up no more, unless a socket asks for them
    Del {
        #[command(flatten)]
        rule: Rule,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Print the rules that are by hand
    List {
        /// Print JSON: an array of objects with stable keys
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Rule {
    /// Name of the symbol
    symbol: String,
    /// Which packets: tcp/80, udp/192.0.2.1:53, ip/ospf, ethertype/0x88cc, or tcp/192.0.2.1:4000 from 198.51.100.7:443
    #[arg(required = true)]
    rule: Vec<String>,
    /// Namespace of the symbol, if several have its name
    #[arg(long)]
    netns: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SymbolCommand {
    /// Make a symbol of a relay's port, as a [[symbol]] of the configuration file does
    Add {
        #[command(flatten)]
        symbol: Box<NewSymbol>,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Remove a symbol with its rules, its interface and the routes by hand that lead by it
    Del {
        /// Its name
        name: String,
        /// Its namespace, if several have its name
        #[arg(long)]
        netns: Option<String>,
        /// Its kind; "files" for a directory that has the name of an interface
        #[arg(long, value_parser = kinds())]
        kind: Option<String>,
        #[command(flatten)]
        lasting: Lasting,
    },
}

/// The keys of a `[[symbol]]`.
#[derive(Debug, Args)]
pub(crate) struct NewSymbol {
    /// Name of the relay
    relay: String,
    /// Name of the relay's port
    port: String,
    /// Name of the symbol [default: the port's]
    #[arg(long)]
    name: Option<String>,
    /// Namespace in which it is made [default: the daemon's]
    #[arg(long)]
    netns: Option<String>,
    /// What stands for the port [default: interface]
    #[arg(long, value_parser = kinds())]
    kind: Option<String>,
    /// What programs may serve, for example tcp/80; may be repeated [default: all but a few ports]
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
    /// Router by which answers leave; may be repeated
    #[arg(long)]
    gateway: Vec<String>,
    /// Address of the relay's port, of a symbol of kind address
    #[arg(long)]
    address: Option<String>,
    /// Address by which relay and control translate it
    #[arg(long)]
    local: Option<String>,
    /// Have an address symbol be the way of all that has no other
    #[arg(long)]
    default_route: bool,
    /// Share of new flows, 1 to 65535, or auto
    #[arg(long)]
    weight: Option<String>,
    /// User whose its files are, by name or number, of a symbol of kind files
    #[arg(long)]
    uid: Option<String>,
    /// Their group
    #[arg(long)]
    gid: Option<String>,
    /// Who may read and write them, for example 0660
    #[arg(long)]
    mode: Option<String>,
    /// Have only rules by hand: sockets ask for nothing
    #[arg(long)]
    no_detect: bool,
    /// A rule by hand; may be repeated
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Have the relay forward by a route, in the words of `ip route add`; `dev` names a symbol, or at a relay a port
    Add {
        #[arg(
            required = true,
            help = "[KIND] PREFIX [via GATEWAY] dev NAME [onlink] [metric N] [table N] [mtu N] [netns NAME]"
        )]
        words: Vec<String>,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Take a route by hand back
    Del {
        /// Its prefix, and as many other words as tell it apart
        #[arg(required = true)]
        words: Vec<String>,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Print the routes that are by hand
    List {
        /// Print JSON: an array of objects with stable keys
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeerCommand {
    /// Give a peer a share of new flows, and end its draining
    Weight {
        /// Name of the peer
        name: String,
        /// 0 for no new flow, to 65535; or "own" for what its own configuration says
        #[arg(value_parser = weight, allow_negative_numbers = true)]
        weight: Weight,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Give a peer no new flow, and leave it those that it has
    Drain {
        /// Name of the peer
        name: String,
        /// Give it new flows again, as before
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Give up at once all that is held for a peer that is gone
    Forget {
        /// Name of the peer
        name: String,
        /// Also one that is up: its session ends, and begins anew
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        lasting: Lasting,
    },
}

/// A share of new flows; none for the peer's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight(Option<u16>);

/// What a symbol may be.
fn kinds() -> PossibleValuesParser {
    ["interface", "address", "files"].into()
}

fn weight(text: &str) -> Result<Weight, String> {
    match text {
        "own" => Ok(Weight(None)),
        _ => text.parse().map(|weight| Weight(Some(weight))).map_err(|_| "0 to 65535, or \"own\"".to_owned()),
    }
}

pub(crate) fn rule(socket: &Path, command: &RuleCommand, out: &mut impl Write) -> Result<(), Failure> {
    let (object, Rule { symbol, rule, netns }, lasting) = match command {
        RuleCommand::Add { rule, lasting } => ("add", rule, lasting),
        RuleCommand::Del { rule, lasting } => ("del", rule, lasting),
        RuleCommand::List { json } => return list(socket, Object::Rules, *json, out),
    };
    let rule = rule.join(" ");
    let keys = json!({"symbol": symbol, "rule": rule, "netns": netns});
    request(socket, ("rule", object), keys, lasting, out)
}

pub(crate) fn symbol(socket: &Path, command: &SymbolCommand, out: &mut impl Write) -> Result<(), Failure> {
    match command {
        SymbolCommand::Add { symbol, lasting } => {
            request(socket, ("symbol", "add"), json!({"symbol": symbol.keys()}), lasting, out)
        }
        SymbolCommand::Del { name, netns, kind, lasting } => {
            let keys = json!({"name": name, "netns": netns, "kind": kind});
            request(socket, ("symbol", "del"), keys, lasting, out)
        }
    }
}

pub(crate) fn route(socket: &Path, command: &RouteCommand, out: &mut impl Write) -> Result<(), Failure> {
    let (object, words, lasting) = match command {
        RouteCommand::Add { words, lasting } => ("add", words, lasting),
        RouteCommand::Del { words, lasting } => ("del", words, lasting),
        RouteCommand::List { json } => return list(socket, Object::Routes, *json, out),
    };
    request(socket, ("route", object), json!({"route": words.join(" ")}), lasting, out)
}

pub(crate) fn peer(socket: &Path, command: &PeerCommand, out: &mut impl Write) -> Result<(), Failure> {
    let (object, keys, lasting) = match command {
        PeerCommand::Weight { name, weight: Weight(weight), lasting } => {
            ("weight", json!({"name": name, "weight": weight}), lasting)
        }
        PeerCommand::Drain { name, undo, lasting } => ("drain", json!({"name": name, "undo": undo}), lasting),
        PeerCommand::Forget { name, force, lasting } => {
            ("forget", json!({"name": name, "force": force}), lasting)
        }
    };
    request(socket, ("peer", object), keys, lasting, out)
}

/// Takes keys out that say that something usual is so, which few readers of a table want to know.
pub(crate) fn leave_out_usual(rows: &mut [Value]) {
    for row in rows.iter_mut().filter_map(Value::as_object_mut) {
        row.retain(|key, value| !matches!(key.as_str(), "static" | "draining") || *value != false);
        row.retain(|key, value| key != "detect" || *value != true);
        row.retain(|key, value| key != "public_key" || !value.is_null());
    }
}

fn list(socket: &Path, object: Object, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let mut rows = daemon::show(socket, object)?;
    rows.retain(|row| row["static"] == true);
    if json {
        writeln!(out, "{:#}", Value::from(rows))?;
    } else {
        rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| _ = row.remove("static"));
        table::print(out, &format!("{object} by hand"), object.keys(), &rows)?;
    }
    Ok(())
}

/// Has the daemon do something, and prints what is left to be waited for.
fn request(
    socket: &Path,
    (verb, object): (&str, &str),
    mut keys: Value,
    lasting: &Lasting,
    out: &mut impl Write,
) -> Result<(), Failure> {
    keys["verb"] = verb.into();
    keys["object"] = object.into();
    if lasting.save {
        keys["save"] = true.into();
    }
    for row in daemon::request(socket, &keys)? {
        let text = |key: &str| row[key].as_str().unwrap_or("?").to_owned();
        writeln!(out, "{}: {}", text("state"), text("reason"))?;
    }
    Ok(())
}

impl NewSymbol {
    /// As they stand in the file; those that were not given are left out.
    fn keys(&self) -> Value {
        let Self { relay, port, name, netns, kind, services, gateway, address, local, .. } = self;
        let Self { uid, gid, mode, .. } = self;
        let number_or_name = |text: &str| text.parse::<i64>().map_or(json!(text), Value::from);
        let weight = self.weight.as_deref().map(number_or_name);
        let list = |items: &[String]| (!items.is_empty()).then(|| json!(items));
        let all = [
            ("kind", kind.as_ref().map(|kind| json!(kind))),
            ("relay", Some(json!(relay))),
            ("port", Some(json!(port))),
            ("name", name.as_ref().map(|name| json!(name))),
            ("netns", netns.as_ref().map(|netns| json!(netns))),
            ("services", list(services)),
            ("gateway", list(gateway)),
            ("address", address.as_ref().map(|address| json!(address))),
            ("local", local.as_ref().map(|local| json!(local))),
            ("default_route", self.default_route.then_some(json!(true))),
            ("weight", weight),
            ("uid", uid.as_deref().map(number_or_name)),
            ("gid", gid.as_deref().map(number_or_name)),
            ("mode", mode.as_ref().map(|mode| json!(mode))),
            ("detect", self.no_detect.then_some(json!(false))),
            ("rules", list(&self.rules)),
        ];
        all.into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect::<Map<_, _>>()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arguments;
    use crate::Command;
    use clap::Parser;

    #[test]
    fn a_symbol_has_the_keys_that_were_given() {
        let words = "l2ctl symbol add relay1 eth1 --netns web --service tcp/80 --service udp/* --weight 5 --no-detect --save";
        let arguments = Arguments::parse_from(words.split(' '));
        let Command::Symbol { command: SymbolCommand::Add { symbol, lasting } } = arguments.command else {
            panic!("{arguments:?}");
        };
        assert!(lasting.save);
        let expected = json!({
            "relay": "relay1", "port": "eth1", "netns": "web", "services": ["tcp/80", "udp/*"], "weight": 5, "detect": false,
        });
        assert_eq!(symbol.keys(), expected);
    }

    #[test]
    fn words_of_a_route_are_not_taken_for_options() {
        let words = "l2ctl route add 10.0.0.0/8 via 192.0.2.2 dev eth1 metric 5 --save";
        let arguments = Arguments::parse_from(words.split(' '));
        let Command::Route { command: RouteCommand::Add { words, lasting } } = arguments.command else {
            panic!("{arguments:?}");
        };
        assert_eq!(
            (words.join(" ").as_str(), lasting.save),
            ("10.0.0.0/8 via 192.0.2.2 dev eth1 metric 5", true)
        );
    }

    #[test]
    fn what_is_usual_makes_no_column() {
        let mut rows = [json!({"static": false, "detect": true}), json!({"static": true, "detect": false})];
        leave_out_usual(&mut rows);
        assert_eq!(rows, [json!({}), json!({"static": true, "detect": false})]);
    }
}
