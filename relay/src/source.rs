//! What wakes the daemon up.

use core::fmt;
use l2link_os::api::ApiServer;
use l2link_os::metrics::MetricsServer;
use mio::Token;

/// A source of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// SIGTERM, SIGINT or SIGHUP arrived.
    Signals,
    /// Interfaces or addresses of this machine changed.
    Interfaces,
    /// The tables of nftables changed.
    Discard,
    /// Routes of this machine changed.
    Routes,
    /// Frames of the link arrived.
    Link,
    /// The kernel said something to a virtual address.
    OwnErrors,
    /// A command by hand is in the configuration file.
    Saved,
    /// The command socket has a new client, or a client wrote something.
    Api,
    /// Somebody wants figures for monitoring.
    Metrics,
    /// Packets arrived at the port of this place in the configuration.
    Port(usize),
    /// The kernel forwarded packets into the interface to another relay.
    Transit(usize),
}

impl Source {
    /// Tokens of the command socket: the listener and its clients.
    pub(crate) const API: core::ops::Range<usize> = 16..16 + 1 + ApiServer::CLIENTS;
    /// Tokens of the metrics server: the listeners and their clients.
    pub(crate) const METRICS: core::ops::Range<usize> = Self::API.end..Self::API.end + MetricsServer::TOKENS;
    /// Ports have the even places from here on, interfaces to relays the odd ones.
    const FIRST_PORT: usize = Self::METRICS.end;

    /// The source's token; the first one of several.
    pub(crate) const fn token(self) -> Token {
        Token(match self {
            Self::Signals => 0,
            Self::Interfaces => 1,
            Self::Link => 2,
            Self::Discard => 3,
            Self::Routes => 4,
            Self::OwnErrors => 5,
            Self::Saved => 6,
            Self::Api => Self::API.start,
            Self::Metrics => Self::METRICS.start,
            Self::Port(place) => Self::FIRST_PORT + 2 * place,
            Self::Transit(place) => Self::FIRST_PORT + 2 * place + 1,
        })
    }

    /// The source of a token that was registered.
    pub(crate) fn of(token: Token) -> Option<Self> {
        match token.0 {
            0 => Some(Self::Signals),
            1 => Some(Self::Interfaces),
            2 => Some(Self::Link),
            3 => Some(Self::Discard),
            4 => Some(Self::Routes),
            5 => Some(Self::OwnErrors),
            6 => Some(Self::Saved),
            token if Self::API.contains(&token) => Some(Self::Api),
            token if Self::METRICS.contains(&token) => Some(Self::Metrics),
            token => token.checked_sub(Self::FIRST_PORT).map(|at| match at % 2 {
                0 => Self::Port(at / 2),
                _ => Self::Transit(at / 2),
            }),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signals => f.write_str("signals"),
            Self::Interfaces => f.write_str("interfaces"),
            Self::Discard => f.write_str("discard"),
            Self::Routes => f.write_str("routes"),
            Self::OwnErrors => f.write_str("own errors"),
            Self::Saved => f.write_str("saved"),
            Self::Link => f.write_str("link"),
            Self::Api => f.write_str("api"),
            Self::Metrics => f.write_str("metrics"),
            Self::Port(place) => write!(f, "port {}", place + 1),
            Self::Transit(place) => write!(f, "transit {}", place + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_sources_are_one_to_one() {
        let sources = [
            Source::Signals,
            Source::Interfaces,
            Source::Discard,
            Source::Routes,
            Source::OwnErrors,
            Source::Saved,
            Source::Link,
            Source::Api,
            Source::Metrics,
            Source::Port(0),
            Source::Port(1_000),
            Source::Transit(0),
            Source::Transit(1_000),
        ];
        for source in sources {
            assert_eq!(Source::of(source.token()), Some(source));
        }
        assert_eq!(Source::of(Token(Source::API.end - 1)), Some(Source::Api));
        assert_eq!(Source::of(Token(Source::METRICS.end - 1)), Some(Source::Metrics));
        assert_eq!(Source::of(Token(7)), None);
    }
}
