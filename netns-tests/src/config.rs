//! Configuration files for the daemons.

use std::fmt::{self, Write as _};

/// A `relay.toml`.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Its name on the segment.
    pub name: String,
    /// More lines of `[link]`.
    pub link: String,
    /// Lines of `[routes]`.
    pub routes: String,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// A `[[port]]`.
#[derive(Debug, Clone)]
pub struct Port {
    /// The interface.
    pub interface: String,
    /// More lines, such as `relay_services`.
    pub more: String,
    /// Its permission list: the lines of each `[[port.allow]]`.
    pub allow: Vec<String>,
}

/// A `control.toml`.
#[derive(Debug, Clone)]
pub struct Control {
    /// Its name on the segment.
    pub name: String,
    /// More lines before all sections, such as `carrier_hold_ms`.
    pub more: String,
    /// More lines of `[link]`.
    pub link: String,
    /// Lines of `[routes]`.
    pub routes: String,
    /// Its symbols.
    pub symbols: Vec<Symbol>,
}

/// A `[[symbol]]` of kind interface.
#[derive(Debug, Clone)]
pub struct Symbol {
    /// The relay's name.
    pub relay: String,
    /// The relay's port, which is the symbol's name as well.
    pub port: String,
    /// The namespace in which the symbol lies, if it is not the daemon's own.
    pub netns: Option<String>,
    /// More lines, such as `services` or `gateway`.
    pub more: String,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            name: "relay1".into(),
            link: String::new(),
            routes: String::new(),
            ports: vec![Port::new("eth1")],
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self {
            name: "control1".into(),
            more: String::new(),
            link: String::new(),
            routes: String::new(),
            symbols: vec![Symbol::new("eth1")],
        }
    }
}

impl Relay {
    /// One with two ports, by which any control may route.
    #[must_use]
    pub fn router() -> Self {
        Self { ports: vec![Port::routed("eth1"), Port::routed("eth2")], ..Self::default() }
    }
}

impl Control {
    /// One without symbols of kind interface.
    #[must_use]
    pub fn without_symbols() -> Self {
        Self { symbols: Vec::new(), ..Self::default() }
    }

    /// One with a symbol of each port of [`Relay::router`], all in this namespace, that mirrors its routes.
    #[must_use]
    pub fn router(netns: &str) -> Self {
        let symbol = |port| Symbol { netns: Some(netns.to_owned()), ..Symbol::new(port) };
        Self {
            routes: "enabled = true".into(),
            symbols: ["eth1", "eth2"].map(symbol).into(),
            ..Self::default()
        }
    }
}

impl Port {
    /// A port that any control may have and route by.
    #[must_use]
    pub fn routed(interface: &str) -> Self {
        Self { allow: vec!["control = \"*\"\nroutes = true".into()], ..Self::new(interface) }
    }

    /// A port that any control may have.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        Self { interface: interface.into(), more: String::new(), allow: vec![r#"control = "*""#.into()] }
    }
}

impl Symbol {
    /// A symbol of a port of `relay1`.
    #[must_use]
    pub fn new(port: &str) -> Self {
        Self { relay: "relay1".into(), port: port.into(), netns: None, more: String::new() }
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        head(f, &self.name, &self.link, &self.routes)?;
        for port in &self.ports {
            write!(f, "\n[[port]]\ninterface = \"{}\"\n{}\n", port.interface, port.more)?;
            for allow in &port.allow {
                write!(f, "[[port.allow]]\n{allow}\n")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.more.is_empty() {
            writeln!(f, "{}", self.more)?;
        }
        head(f, &self.name, &self.link, &self.routes)?;
        for Symbol { relay, port, netns, more } in &self.symbols {
            write!(
                f,
                "\n[[symbol]]\nkind = \"interface\"\nrelay = \"{relay}\"\nport = \"{port}\"\n{more}\n"
            )?;
            if let Some(netns) = netns {
                writeln!(f, "netns = \"{netns}\"")?;
            }
        }
        Ok(())
    }
}

fn head(f: &mut fmt::Formatter<'_>, name: &str, link: &str, routes: &str) -> fmt::Result {
    write!(
        f,
        "name = \"{name}\"\n[link]\ninterface = \"lan0\"\npsk_file = \"psk\"\n{link}\n[api]\nsocket = \"sock\"\n"
    )?;
    if !routes.is_empty() {
        writeln!(f, "\n[routes]\n{routes}")?;
    }
    Ok(())
}

/// A `control.toml` with these address symbols, each `NAME ADDRESS MORE`, besides what `control` says.
#[must_use]
pub fn with_addresses(control: &Control, netns: &str, symbols: &[(&str, &str, &str)]) -> String {
    let mut text = control.to_string();
    for (name, address, more) in symbols {
        let _ = write!(
            text,
            "\n[[symbol]]\nkind = \"address\"\nrelay = \"relay1\"\nport = \"eth1\"\nname = \"{name}\"\n\
             address = \"{address}\"\nnetns = \"{netns}\"\n{more}\n"
        );
    }
    text
}
