//! Routes by hand.

use super::{HandError, Standing};
use crate::fib::Taken;
use crate::relay::Relay;
use frames::message::RouteNexthop;
use frames::route::{RouteContent, RouteKey};
use l2link::route_text::{NexthopText, RouteText};

impl Relay {
    /// Makes a route by hand. No control can have the same one then.
    ///
    /// # Errors
    /// If there is one already, or it does not lead by ports.
    pub fn add_route(&mut self, text: &RouteText) -> Result<(), HandError> {
        if text.netns.is_some() {
            return Err(HandError::Namespace);
        }
        let key = text.key();
        if self.fixed.contains_key(&key) {
            return Err(HandError::RouteExists(key));
        }
        let nexthops: Vec<RouteNexthop> =
            text.nexthops.iter().map(|hop| self.nexthop(hop)).collect::<Result<_, _>>()?;
        let content = RouteContent { kind: text.kind, mtu: text.mtu, nexthops: &nexthops };
        self.fib.add_by_hand(key, content, &self.ports).map_err(|taken| match taken {
            Taken::Control(name) => HandError::RouteTaken(key, name),
            Taken::Full(max) => HandError::TableFull(max),
        })?;
        log::info!(target: "relay::route", "route {text}: by hand");
        self.fixed.insert(key, text.clone());
        self.answer_routes();
        Ok(())
    }

    /// Ends the route by hand that the words name; returns it. If a control wants one of its key, that has its turn.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn delete_route(&mut self, selector: &RouteText) -> Result<RouteText, HandError> {
        let found: Vec<RouteKey> =
            self.fixed.iter().filter(|(_, text)| selector.names(text)).map(|(key, _)| *key).collect();
        let key = match found[..] {
            [only] => only,
            [] => return Err(HandError::NoRoute(selector.to_string())),
            _ => {
                let texts = found.iter().filter_map(|key| self.fixed.get(key)).map(RouteText::to_string);
                return Err(HandError::SeveralRoutes(texts.collect()));
            }
        };
        let text = self.fixed.remove(&key).unwrap_or_else(|| selector.clone());
        log::info!(target: "relay::route", "route {text}: by hand no more");
        self.fib.delete_by_hand(key);
        self.answer_routes();
        Ok(text)
    }

    /// All routes by hand.
    pub fn routes_by_hand(&self) -> impl Iterator<Item = &RouteText> {
        self.fixed.values()
    }

    /// How far a route by hand is; none if there is no such.
    #[must_use]
    pub fn route_standing(&self, text: &RouteText) -> Option<Standing> {
        self.fib.standing_by_hand(&text.key(), &self.ports)
    }

    fn nexthop(&self, hop: &NexthopText) -> Result<RouteNexthop, HandError> {
        let port = self.ports.by_name(&hop.dev).ok_or_else(|| {
            let known = self.ports.iter().map(|port| port.name().to_owned()).collect();
            HandError::NoPort { name: hop.dev.clone(), known }
        })?;
        Ok(RouteNexthop::new(port.id, hop.gateway, hop.weight, hop.onlink))
    }
}
