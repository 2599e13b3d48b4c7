//! [`Source`]: what can wake the daemon.

use control_core::NamespaceId;
use core::fmt;
use core::ops::Range;
use frames::SymbolId;
use l2link_os::api::ApiServer;
use l2link_os::metrics::MetricsServer;
use mio::Token;

/// What can wake the daemon. Each has its own [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// SIGTERM, SIGINT, SIGHUP, SIGUSR2.
    Signals,
    /// Interfaces of the daemon's own namespace changed: the link's may be among them.
    Monitor,
    /// A socket may have been opened somewhere on this machine.
    Trigger,
    /// The kernel tells which sockets of a namespace were closed.
    Closed(NamespaceId),
    /// The kernel tells that a group was joined or left in a namespace.
    Groups(NamespaceId),
    /// The kernel tells of routes of a namespace.
    Routes(NamespaceId),
    /// Interfaces or addresses of a namespace changed.
    Interfaces(NamespaceId),
    /// The keeper has gone.
    Keeper,
    /// Link frames have arrived.
    Link,
    /// Programs do something with files, or the kernel asks about them.
    FileRequests,
    /// The thread of the files' tree has answered, or has room for requests.
    FileTree,
    /// The thread of the files' tree asks.
    FileQuestions,
    /// A program has sent something through a symbol.
    Symbol(SymbolId),
    /// A command by hand is in the configuration file.
    Saved,
    /// A client of the command socket; the server knows which.
    Api,
    /// A client that wants figures for monitoring; the server knows which.
    Metrics,
}

impl Source {
    /// Tokens of the command socket and its clients.
    pub(crate) const API: Range<usize> = 16..16 + ApiServer::CLIENTS + 1;
    /// Tokens of the metrics server and its clients.
    pub(crate) const METRICS: Range<usize> = Self::API.end..Self::API.end + MetricsServer::TOKENS;

    pub(crate) fn token(self) -> Token {
        Token(match self {
            Self::Signals => 0,
            Self::Monitor => 1,
            Self::Trigger => 2,
            Self::Link => 3,
            Self::Keeper => 4,
            Self::FileRequests => 5,
            Self::FileTree => 6,
            Self::FileQuestions => 7,
            Self::Saved => 8,
            Self::Api => Self::API.start,
            Self::Metrics => Self::METRICS.start,
            Self::Closed(namespace) => NAMESPACES + 4 * namespace.0 as usize,
            Self::Groups(namespace) => NAMESPACES + 4 * namespace.0 as usize + 1,
            Self::Routes(namespace) => NAMESPACES + 4 * namespace.0 as usize + 2,
            Self::Interfaces(namespace) => NAMESPACES + 4 * namespace.0 as usize + 3,
            Self::Symbol(symbol) => SYMBOLS + symbol.0 as usize,
        })
    }

    pub(crate) fn of(token: Token) -> Option<Self> {
        let number = |first: usize| u32::try_from(token.0 - first).ok();
        Some(match token.0 {
            0 => Self::Signals,
            1 => Self::Monitor,
            2 => Self::Trigger,
            3 => Self::Link,
            4 => Self::Keeper,
            5 => Self::FileRequests,
            6 => Self::FileTree,
            7 => Self::FileQuestions,
            8 => Self::Saved,
            place if Self::API.contains(&place) => Self::Api,
            place if Self::METRICS.contains(&place) => Self::Metrics,
            place if place >= SYMBOLS => Self::Symbol(SymbolId(number(SYMBOLS)?)),
            place if place >= NAMESPACES => {
                let number = number(NAMESPACES)?;
                let namespace = NamespaceId(number / 4);
                match number % 4 {
                    0 => Self::Closed(namespace),
                    1 => Self::Groups(namespace),
                    2 => Self::Routes(namespace),
                    _ => Self::Interfaces(namespace),
                }
            }
            _ => return None,
        })
    }
}

/// First token of the namespaces, four for each. There can be two hundred thousand.
const NAMESPACES: usize = 1 << 16;
/// First token of the symbols.
const SYMBOLS: usize = 1 << 20;

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signals => f.write_str("signals"),
            Self::Monitor => f.write_str("monitor"),
            Self::Trigger => f.write_str("trigger"),
            Self::Closed(namespace) => write!(f, "closed sockets of {namespace}"),
            Self::Groups(namespace) => write!(f, "groups of {namespace}"),
            Self::Routes(namespace) => write!(f, "routes of {namespace}"),
            Self::Interfaces(namespace) => write!(f, "interfaces of {namespace}"),
            Self::Keeper => f.write_str("keeper"),
            Self::Link => f.write_str("link"),
            Self::FileRequests => f.write_str("requests for files"),
            Self::FileTree => f.write_str("answers about files"),
            Self::FileQuestions => f.write_str("questions about files"),
            Self::Saved => f.write_str("saved commands"),
            Self::Symbol(symbol) => symbol.fmt(f),
            Self::Api => f.write_str("command socket"),
            Self::Metrics => f.write_str("metrics server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_found_by_its_token() {
        let sources = [
            Source::Signals,
            Source::Monitor,
            Source::Trigger,
            Source::Keeper,
            Source::Link,
            Source::FileRequests,
            Source::FileTree,
            Source::FileQuestions,
            Source::Saved,
            Source::Api,
            Source::Metrics,
            Source::Closed(NamespaceId(0)),
            Source::Groups(NamespaceId(0)),
            Source::Closed(NamespaceId(7)),
            Source::Groups(NamespaceId(7)),
            Source::Routes(NamespaceId(7)),
            Source::Interfaces(NamespaceId(7)),
            Source::Symbol(SymbolId(1)),
        ];
        for source in sources {
            assert_eq!(Source::of(source.token()), Some(source), "{source}");
        }
        assert_eq!(Source::of(Token(15)), None);
        assert_eq!(Source::of(Token(Source::API.end - 1)), Some(Source::Api));
        assert_eq!(Source::of(Token(Source::METRICS.end - 1)), Some(Source::Metrics));
    }
}
