//! Section `[metrics]`.

use super::{ApiSettings, ConfigError, ConfigSource, GroupWord};
use crate::access::{Access, Permission};
use core::net::SocketAddr;
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

/// Section `[metrics]`: who may have figures for monitoring. Without it, nobody.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSection {
    /// A UNIX socket.
    pub socket: Option<Spanned<PathBuf>>,
    /// Whose members may use it; that of `[api]` by default.
    pub group: Option<Spanned<GroupWord>>,
    /// An address of the loopback, and a port of TCP.
    pub listen: Option<Spanned<String>>,
}

/// What a valid `[metrics]` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSettings {
    /// A UNIX socket.
    pub socket: Option<PathBuf>,
    /// Who may use it.
    pub access: Access,
    /// An address of the loopback, and a port of TCP.
    pub listen: Option<SocketAddr>,
}

impl MetricsSection {
    /// Checks a section. `api` is what there is of the command socket.
    ///
    /// # Errors
    /// Names what is wrong, where, and how to mend it.
    pub fn check(
        section: &Spanned<Self>,
        api: &ApiSettings,
        source: &ConfigSource,
    ) -> Result<MetricsSettings, ConfigError> {
        let Self { socket: configured, group, listen } = section.get_ref();
        let socket =
            configured.as_ref().map(|socket| source.socket_path(socket, "metrics socket")).transpose()?;
        if let (Some(socket), Some(configured)) = (&socket, configured)
            && *socket == api.socket
        {
            let message = format!("{} is the command socket", socket.display());
            return Err(source
                .error_at(configured.span(), message)
                .help("choose another path for [metrics]"));
        }
        let listen = listen.as_ref().map(|listen| address(listen, source)).transpose()?;
        if socket.is_none() && listen.is_none() {
            return Err(source.error_at(section.span(), "[metrics] names no place").help(
                "write `socket = \"PATH\"` or `listen = \"127.0.0.1:9401\"` into it, or leave it out",
            ));
        }
        let access = match group {
            Some(group) if socket.is_none() => {
                return Err(source
                    .error_at(group.span(), "`group` is for the socket of [metrics], and there is none")
                    .help("at an address of the loopback every user of this machine can have the figures"));
            }
            Some(group) => Access {
                group: Some(GroupWord::check(group, source)?),
                group_may: Permission::Look,
                ..api.access.for_looking()
            },
            None => api.access.for_looking(),
        };
        Ok(MetricsSettings { socket, access, listen })
    }
}

fn address(listen: &Spanned<String>, source: &ConfigSource) -> Result<SocketAddr, ConfigError> {
    let text = listen.get_ref();
    let error = |message: String| source.error_at(listen.span(), message);
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Err(error(format!("{text:?} is not an address with a port"))
            .help("write \"127.0.0.1:9401\" or \"[::1]:9401\""));
    };
    if !address.ip().is_loopback() {
        return Err(error(format!("{} is no address of the loopback", address.ip())).help(
            "figures are handed out without authentication and encryption: listen at 127.0.0.1 or [::1], and let a \
             proxy or ssh bring them to other machines",
        ));
    }
    if address.port() == 0 {
        return Err(error("port 0 is none".to_owned()).help("write 1 to 65535, for example 9401"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::load;
    use rstest::rstest;

    #[derive(Debug, Deserialize)]
    struct File {
        metrics: Spanned<MetricsSection>,
    }

    fn check(text: &str) -> Result<MetricsSettings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, format!("[metrics]\n{text}")).unwrap();
        let (file, source) = load::<File>(&path).map_err(|error| error.to_string())?;
        let api = ApiSettings { socket: "/run/l2link/relay.sock".into(), access: Access::default() };
        let mut settings = MetricsSection::check(&file.metrics, &api, &source);
        if let Ok(settings) = &mut settings
            && let Some(socket) = &mut settings.socket
        {
            *socket = socket.strip_prefix(folder.path()).unwrap_or(socket).to_owned();
        }
        settings.map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[rstest]
    #[case("socket = \"m.sock\"", Some("m.sock"), None)]
    #[case(
        "socket = \"/run/m.sock\"\nlisten = \"127.0.0.1:9401\"",
        Some("/run/m.sock"),
        Some("127.0.0.1:9401")
    )]
    #[case("listen = \"[::1]:9401\"", None, Some("[::1]:9401"))]
    #[case("listen = \"127.255.0.1:1\"", None, Some("127.255.0.1:1"))]
    fn right(#[case] text: &str, #[case] socket: Option<&str>, #[case] listen: Option<&str>) {
        let expected = MetricsSettings {
            socket: socket.map(PathBuf::from),
            access: Access::default(),
            listen: listen.map(|listen| listen.parse().unwrap()),
        };
        assert_eq!(check(text), Ok(expected));
    }

    #[rstest]
    #[case(
        "",
        "c.toml:1:1: [metrics] names no place\n  |\n1 | [metrics]\n  | ^^^^^^^^^\nhelp: write `socket"
    )]
    #[case("listen = \"0.0.0.0:9401\"", "c.toml:2:10: 0.0.0.0 is no address of the loopback")]
    #[case("listen = \"[::]:9401\"", "c.toml:2:10: :: is no address of the loopback")]
    #[case("listen = \"192.0.2.1:80\"", "c.toml:2:10: 192.0.2.1 is no address of the loopback")]
    #[case("listen = \"localhost:80\"", "c.toml:2:10: \"localhost:80\" is not an address with a port")]
    #[case("listen = \"127.0.0.1\"", "c.toml:2:10: \"127.0.0.1\" is not an address with a port")]
    #[case("listen = \"127.0.0.1:0\"", "c.toml:2:10: port 0 is none")]
    #[case("socket = \"\"", "c.toml:2:10: the path of the metrics socket is empty")]
    #[case(
        "socket = \"/run/l2link/relay.sock\"",
        "c.toml:2:10: /run/l2link/relay.sock is the command socket"
    )]
    #[case(
        "listen = \"127.0.0.1:1\"\ngroup = \"root\"",
        "c.toml:3:9: `group` is for the socket of [metrics]"
    )]
    #[case(
        "socket = \"m.sock\"\ngroup = \"no-such-group\"",
        "c.toml:3:9: there is no group \"no-such-group\""
    )]
    #[case("port = 9401", "c.toml:2:1: unknown field `port`")]
    fn wrong(#[case] text: &str, #[case] expected: &str) {
        let error = check(text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
