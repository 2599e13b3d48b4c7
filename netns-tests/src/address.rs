//! The addresses of a [`crate::Lab`], from the documentation ranges of RFC 5737 and RFC 3849.

/// The relay's port and the control's symbol.
pub const PORT_V4: &str = "192.0.2.1";
/// The same, IPv6.
pub const PORT_V6: &str = "2001:db8:1::1";
/// The client, on the port's network.
pub const CLIENT_V4: &str = "192.0.2.2";
/// The same, IPv6.
pub const CLIENT_V6: &str = "2001:db8:1::2";
/// A host one router, the client, behind the port.
pub const FAR_V4: &str = "198.51.100.2";
/// The same, IPv6.
pub const FAR_V6: &str = "2001:db8:2::2";
/// Another address of the port, for which an address symbol stands.
pub const VIRTUAL_V4: &str = "192.0.2.10";
/// The same, IPv6.
pub const VIRTUAL_V6: &str = "2001:db8:1::10";
/// The relay's second port, if there is one.
pub const PORT2_V4: &str = "203.0.113.1";
/// The same, IPv6.
pub const PORT2_V6: &str = "2001:db8:3::1";
/// The client at the second port.
pub const CLIENT2_V4: &str = "203.0.113.2";
/// The same, IPv6.
pub const CLIENT2_V6: &str = "2001:db8:3::2";
/// The relay's address on the segment, which nothing may depend on.
pub const SEGMENT_RELAY_V4: &str = "10.9.0.1";
/// The control's address on the segment, which nothing may depend on.
pub const SEGMENT_CONTROL_V4: &str = "10.9.0.2";
/// Ports of several relays, each in a network of its own.
pub const PORTS_V4: [&str; 3] = [PORT_V4, PORT2_V4, "198.18.3.1"];
/// The same, IPv6.
pub const PORTS_V6: [&str; 3] = [PORT_V6, PORT2_V6, "2001:db8:4::1"];
/// The client in the networks of several relays' ports.
pub const CLIENTS_V4: [&str; 3] = [CLIENT_V4, CLIENT2_V4, "198.18.3.2"];
/// The same, IPv6.
pub const CLIENTS_V6: [&str; 3] = [CLIENT_V6, CLIENT2_V6, "2001:db8:4::2"];
/// The service's address at all of several relays, from the range of RFC 2544.
pub const SERVICE_V4: &str = "198.18.0.80";
/// The same, IPv6.
pub const SERVICE_V6: &str = "2001:db8:80::80";
