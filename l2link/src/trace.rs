//! [`Hop`]: one step of what would become of a packet, a socket or a route, with the reason for it.

use core::fmt;

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// What decides.
    pub stage: Stage,
    /// What it decides.
    pub outcome: Outcome,
    /// Why, in words.
    pub text: String,
    /// The control, at a relay, or the relay, at a control, that it is about.
    pub peer: Option<String>,
    /// The up tunnel that it is about.
    pub up_tunnel: Option<u32>,
    /// As what a drop is counted, or the status of a refusal.
    pub reason: Option<String>,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)* })
            }
        }
    };
}

words! {
    /// What decides.
    Stage {
        /// The relay's port at which a packet arrives.
        Port = "port",
        /// The dispatch table.
        Dispatch = "dispatch",
        /// The limit of the rate of packets to a control.
        Police = "police",
        /// The tunnel up, or the translation in its place.
        Tunnel = "tunnel",
        /// The session with the control or relay.
        Session = "session",
        /// The kernel of this machine.
        Kernel = "kernel",
        /// A process that holds a socket.
        Process = "process",
        /// The open sockets of a namespace.
        Socket = "socket",
        /// A symbol.
        Symbol = "symbol",
        /// A rule.
        Rule = "rule",
        /// A packet of the outside world.
        Packet = "packet",
        /// A route that is mirrored.
        Route = "route",
    }
}

words! {
    /// What is decided.
    Outcome {
        /// It goes on.
        Passes = "passes",
        /// It goes up to a control.
        Sent = "sent",
        /// The machine's own kernel has it.
        Kept = "kept",
        /// It ends here.
        Dropped = "dropped",
        /// It is in force.
        InForce = "in-force",
        /// It will be in force as soon as something else is.
        Waits = "waits",
        /// It is not permitted, or not possible.
        Refused = "refused",
        /// There is none, and none is wanted.
        None = "none",
    }
}

impl Hop {
    /// A step that is about nobody in particular.
    pub fn new(stage: Stage, outcome: Outcome, text: impl Into<String>) -> Self {
        Self { stage, outcome, text: text.into(), peer: None, up_tunnel: None, reason: None }
    }

    /// The same about a peer.
    #[must_use]
    pub fn about(self, peer: impl Into<String>) -> Self {
        Self { peer: Some(peer.into()), ..self }
    }

    /// The same of an up tunnel.
    #[must_use]
    pub fn by(self, up_tunnel: u32) -> Self {
        Self { up_tunnel: Some(up_tunnel), ..self }
    }

    /// The same for a reason that has a name.
    #[must_use]
    pub fn because(self, reason: impl fmt::Display) -> Self {
        Self { reason: Some(reason.to_string()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_keeps_all_that_is_said_of_it() {
        let hop = Hop::new(Stage::Rule, Outcome::Refused, "no rule").about("control1").by(7).because("late");
        assert_eq!((hop.stage, hop.outcome, hop.text.as_str()), (Stage::Rule, Outcome::Refused, "no rule"));
        assert_eq!(
            (hop.peer.as_deref(), hop.up_tunnel, hop.reason.as_deref()),
            (Some("control1"), Some(7), Some("late"))
        );
    }
}
