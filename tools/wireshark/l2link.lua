-- Wireshark dissector for the link protocol between l2relay and l2control (frames/PROTOCOL.md).
--
--   wireshark -X lua_script:l2link.lua capture.pcap
--   tshark    -X lua_script:l2link.lua -2 -r capture.pcap -Y 'l2link.message.type == 0x0020'
--   tshark    -X lua_script:l2link.lua -X lua_script1:statistics -2 -q -r capture.pcap
--
-- The EtherType is a preference: -o l2link.ethertype:34997 is the default, 0x88b5. The last command prints statistics, as
-- -z does for other protocols. A reply names its request and how long it took (l2link.response_to, l2link.time), a request
-- its reply (l2link.response_in, in the second pass: -2). Encrypted frames (`encrypt = true`) are shown as such;
-- `l2dump --keylog KEYS -r IN -w OUT` makes a capture of which they can be read.
--
-- Theory of operation. Every read goes through a Cursor that knows where its bytes end; reading beyond raises TRUNCATED,
-- which is caught once per frame and shown as an expert item, so no capture makes Lua fail. Streams (SEGMENT) and
-- parcels (PIECE) are put together in the first pass over the capture, in order of frames, and what a frame completed
-- is kept under its number for later passes, which may come in any order; so are requests and their replies. A stream
-- whose beginning is not in the capture is followed from the first segment that begins with a plausible message. Frames
-- that the capture has cut short are shown as far as they go, and left out of streams and parcels.
--
-- What a receiver would drop is marked with its drop reason, where the capture tells as much: l2link.drop.
--
-- A new message is a name in MESSAGES, its fields in `f`, their order in MESSAGE_BODIES, and its line of text in
-- MESSAGE_TEXTS; if it asks for a reply, both stand in EXCHANGES. `l2dump` prints the same lines.

-- A copy in a folder of plugins has been loaded already when -X lua_script names this one: that copy does it all, and has
-- this one's arguments.
if L2LINK_ARGUMENTS then
  L2LINK_ARGUMENTS(...)
  return
end

local l2link = Proto("l2link", "Link protocol of l2relay and l2control")

local DEFAULT_ETHERTYPE = 0x88b5
local VERSION = 1
local HEADER_LEN = 16
local TAG_LEN = 16
local OFFLOAD_LEN = 10
local MESSAGE_HEADER_LEN = 8
local MESSAGE_MAX = 65536
local PARCEL_MAX = 10 + 14 + 8 + 65535

-- Number spaces, by the names of PROTOCOL.md.

local KINDS = {
  [0x01] = "HELLO",
  [0x02] = "HANDSHAKE_INIT",
  [0x03] = "HANDSHAKE_RESPONSE",
  [0x20] = "KEEPALIVE",
  [0x21] = "SEGMENT",
  [0x22] = "ACK",
  [0x23] = "CLOSE",
  [0x40] = "DATA",
  [0x41] = "PIECE",
  [0x42] = "PACKET",
}

local MESSAGES = {
  [0x0001] = "PORT_REQUEST",
  [0x0002] = "PORT_REPLY",
  [0x0003] = "PORT_UPDATE",
  [0x0004] = "PORT_RELEASE",
  [0x0005] = "PORT_ADDRESSES",
  [0x0006] = "ADDRESS_REPLY",
  [0x0010] = "TUNNEL_REQUEST",
  [0x0011] = "TUNNEL_REPLY",
  [0x0020] = "RULE_ADD",
  [0x0021] = "RULE_REPLY",
  [0x0022] = "RULE_DELETE",
  [0x0023] = "RULE_DELETED",
  [0x0024] = "RULES_END",
  [0x0030] = "MEMBERSHIP_ADD",
  [0x0031] = "MEMBERSHIP_DELETE",
  [0x0040] = "NOTICE",
  [0x0050] = "ROUTE_ADD",
  [0x0051] = "ROUTE_DELETE",
  [0x0052] = "ROUTE_REPLY",
  [0x0053] = "ROUTES_DONE",
  [0x0054] = "ROUTES_BEGIN",
  [0x0055] = "ROUTES_END",
  [0x0056] = "ROUTES_DIGEST_REQUEST",
  [0x0057] = "ROUTES_DIGEST_REPLY",
  [0x0060] = "TRANSLATION_REQUEST",
  [0x0061] = "TRANSLATION_REPLY",
  [0x0062] = "TRANSLATED_RULE_ADD",
  [0x0070] = "FLOWS_REQUEST",
  [0x0071] = "FLOWS",
  [0x0080] = "RELAY_INTRODUCE",
  [0x0081] = "RELAY_DISMISS",
}

local STATUSES = {
  [0] = "OK",
  [1] = "NO_SUCH_PORT",
  [2] = "NOT_PERMITTED",
  [3] = "RESERVED",
  [4] = "TABLE_FULL",
  [5] = "CONFLICT",
  [6] = "BAD_REQUEST",
  [7] = "UNSUPPORTED",
  [8] = "SYSTEM",
  [9] = "NO_SUCH_ADDRESS",
}

local CLOSE_REASONS = {
  [1] = "SHUTDOWN",
  [2] = "NAME_IN_USE",
  [3] = "BAD_STREAM",
  [4] = "DISMISSED",
  [5] = "NOT_A_PEER",
}

local TLVS = {
  [0x0001] = "NAME",
  [0x0002] = "ADDRESSES",
  [0x0003] = "TEXT",
  [0x0004] = "ROUTES_DIGEST",
  [0x0008] = "PORT_ROUTES",
  [0x0010] = "RELAY",
  [0x0011] = "PUBLIC_KEY",
}

local ROLES = { [1] = "relay", [2] = "control" }
local MODES = { [0] = "none", [1] = "psk", [2] = "keys" }
local PROTECTIONS = { [0] = "clear", [1] = "sealed", [2] = "encrypted" }
local STREAMS = { [0] = "events", [1] = "rules", [2] = "routes" }
local CLASSES = { [1] = "listener", [2] = "flow", [3] = "IP protocol", [4] = "EtherType" }
local FAMILIES = { [0] = "both", [4] = "IPv4", [6] = "IPv6" }
local GROUP_CLASSES = { [1] = "IP", [2] = "Ethernet" }
local ROUTE_KINDS = { [1] = "unicast", [2] = "blackhole", [3] = "unreachable", [4] = "prohibit" }
local ROUTE_FAMILIES = { [0] = "none", [4] = "IPv4", [6] = "IPv6" }
local GSO_TYPES = { [0] = "none", [1] = "tcp4", [4] = "tcp6", [5] = "udp" }

-- What the texts say for a status, by the glossary.
local STATUS_TEXTS = {
  [0] = "ok",
  [1] = "no such port",
  [2] = "not permitted",
  [3] = "reserved for the relay",
  [4] = "table full",
  [5] = "conflict",
  [6] = "bad request",
  [7] = "unsupported",
  [8] = "refused by the kernel",
  [9] = "no such address",
}

local CLOSE_TEXTS = {
  [1] = "peer stopped",
  [2] = "the name is in use by another live device",
  [3] = "a message stream cannot be followed",
  [4] = "no control introduces it any more",
  [5] = "it does not have this device and its key among its peers",
}

local PROTOCOLS = {
  [1] = "icmp",
  [2] = "igmp",
  [6] = "tcp",
  [17] = "udp",
  [33] = "dccp",
  [41] = "ipv6",
  [46] = "rsvp",
  [47] = "gre",
  [50] = "esp",
  [51] = "ah",
  [58] = "icmp6",
  [88] = "eigrp",
  [89] = "ospf",
  [103] = "pim",
  [112] = "vrrp",
  [115] = "l2tp",
  [132] = "sctp",
  [136] = "udplite",
}

-- Every reason for which a device drops something, with what `l2ctl show counters` explains.
local DROP_REASONS = {
  ["truncated"] = "A link frame is shorter than its headers or its length field say.",
  ["version"] = "A link frame is of a protocol version that this build does not speak.",
  ["unknown-kind"] = "A link frame is of a kind that this build does not know.",
  ["own-frame"] = "A link frame came from this device's own address: a loop on the segment.",
  ["bad-gate"] = "A discovery or handshake frame does not carry the right keyed hash: another psk, or a forger.",
  ["same-role"] = "A discovery frame is of the same role as this device.",
  ["mode-mismatch"] = "A peer's security mode or data protection is not the one configured here.",
  ["name-in-use"] = "A peer's name is in use by another live peer.",
  ["unknown-peer"] = "A device is not among the configured peers.",
  ["wrong-key"] = "A device is not under the key that is configured for its name: another key, another psk, or a forger.",
  ["not-its-peer"] = "A peer does not have this device, by its name and key, among its own peers.",
  ["handshake-limit"] = "More handshakes than this device answers per second.",
  ["bad-handshake"] = "A handshake message failed its authentication or came out of turn.",
  ["unknown-session"] = "A session frame names a session that this device does not have.",
  ["not-sealed"] = "A session frame is not protected as the configuration demands.",
  ["bad-seal"] = "A session frame failed its authentication.",
  ["replayed"] = "A session frame was received before, or is too old to tell.",
  ["malformed"] = "A frame's body breaks its definition.",
  ["over-credit"] = "A segment goes beyond the credit that its reader gave.",
  ["bad-message"] = "A message in a stream breaks its definition; the message is refused, the session goes on.",
  ["bad-piece"] = "A piece did not fit the rest of its parcel.",
  ["incomplete-parcel"] = "A parcel was given up because pieces of it did not arrive.",
  ["bad-offload"] = "A parcel's offload header contradicts its packet.",
  ["unknown-tunnel"] = "A data frame names a tunnel that its sender does not own.",
  ["no-session"] = "There is no session with the peer that the packet is for.",
  ["too-large"] = "A packet is larger than a parcel may be.",
  ["link-tx-full"] = "The kernel's queue of the link interface was full.",
  ["link-tx-error"] = "The kernel refused a link frame.",
  ["link-rx-overrun"] = "The kernel's receive queue of the link interface overflowed.",
  ["bad-packet"] = "A packet at a port is too short or contradicts itself.",
  ["tunnel-offload"] = "A super-packet at a port is in a tunnel of a kind that cannot be cut.",
  ["unmatched"] = "A packet is addressed to the port and no rule matches it.",
  ["not-for-port"] = "A packet at a port is not for the port; the relay's kernel forwards or ignores it.",
  ["orphan-fragment"] = "A later fragment came without its first one.",
  ["punt-limit"] = "A packet matched, but its class, source or control had used up its rate.",
  ["port-down"] = "The port is down or gone.",
  ["port-tx-full"] = "The kernel's queue of the port was full.",
  ["port-tx-error"] = "The kernel refused a packet at the port.",
  ["port-rx-overrun"] = "The kernel's receive queue of the port overflowed.",
  ["no-down-tunnel"] = "A packet left through a symbol that has no down tunnel (yet).",
  ["not-exposed"] = "A packet left through a symbol from a service that the symbol does not expose.",
  ["refusal"] = "A connection was neither taken nor refused: the listener has just been closed, and another server may take it.",
  ["symbol-tx-error"] = "The symbol's interface refused a packet.",
  ["not-translated"] = "A packet of an address symbol is not between its virtual address and another host's.",
  ["file-queue-full"] = "A packet came for an open file whose queue was full, as its program reads too slowly.",
  ["no-reader"] = "A packet came for a file symbol, and no open file takes it (any more).",
  ["not-routable"] = "A packet that the relay is to route is not from an address of its symbol's port to another host.",
  ["relay-loop"] = "A packet that came from another relay would leave to a relay again.",
}

-- Which messages ask and which answer, by what pairs them.
local EXCHANGES = {
  PORT_REQUEST = { asks = "port" },
  PORT_REPLY = { answers = "port" },
  TUNNEL_REQUEST = { asks = "tunnel" },
  TUNNEL_REPLY = { answers = "tunnel" },
  RULE_ADD = { asks = "rule" },
  TRANSLATED_RULE_ADD = { asks = "rule" },
  RULE_REPLY = { answers = "rule" },
  RULE_DELETE = { asks = "deletion" },
  RULE_DELETED = { answers = "deletion" },
  TRANSLATION_REQUEST = { asks = "translation" },
  TRANSLATION_REPLY = { answers = "translation" },
  FLOWS_REQUEST = { asks = "flows" },
  FLOWS = { answers = "flows" }, -- several, up to the one with the flag `last`
  ROUTE_ADD = { asks = "routes" },
  ROUTE_DELETE = { asks = "routes" },
  ROUTES_BEGIN = { asks = "routes" },
  ROUTES_END = { asks = "routes" },
  ROUTES_DONE = { answers = "routes", all_before = true },
  ROUTES_DIGEST_REQUEST = { asks = "digest" },
  ROUTES_DIGEST_REPLY = { answers = "digest" },
}

local STATUS_OK = 0
local CLASS_LISTENER, CLASS_FLOW, CLASS_IP_PROTOCOL, CLASS_ETHERTYPE = 1, 2, 3, 4
local GROUP_ETHERNET = 2
local DIGEST_PARTS = 16
local TABLE_MAIN = 254
local FLAG_SEALED, FLAG_ENCRYPTED, FLAG_GATED, FLAG_BULK = 0x1, 0x2, 0x4, 0x8
local KIND_PACKET = 0x42
local ETHERNET_LEN, IPV4_LEN, IPV6_LEN = 14, 20, 40
local ETHERTYPE_IPV4, ETHERTYPE_IPV6 = 0x0800, 0x86dd
local GSO_ECN, GSO_BY_FRAGS = 0x80, 0xffff
local OFFLOAD_NEEDS_CHECKSUM = 0x1
local FIRST_LIMIT = 262144 -- credit of a stream before the first ACK
local LINK_NAME_MAX = 63
local TLV_NAME, TLV_MANDATORY = 0x0001, 0x8000
-- Requests as young as this at the end of the capture are not missed a reply, in seconds.
local REPLY_TIME = 1

-- Fields, by the names of the bit pictures.

local f = {
  version = ProtoField.uint8("l2link.version", "Version", base.DEC, nil, 0xf0),
  flags = ProtoField.uint8("l2link.flags", "Flags", base.HEX, nil, 0x0f),
  sealed = ProtoField.bool("l2link.flags.sealed", "Sealed", 8, nil, FLAG_SEALED),
  encrypted = ProtoField.bool("l2link.flags.encrypted", "Encrypted", 8, nil, FLAG_ENCRYPTED),
  gated = ProtoField.bool("l2link.flags.gated", "Gated", 8, nil, FLAG_GATED),
  bulk = ProtoField.bool("l2link.flags.bulk", "Bulk", 8, nil, FLAG_BULK),
  kind = ProtoField.uint8("l2link.kind", "Kind", base.HEX, KINDS),
  length = ProtoField.uint16("l2link.length", "Length", base.DEC),
  receiver = ProtoField.uint32("l2link.receiver", "Receiver's session index", base.HEX),
  counter = ProtoField.uint64("l2link.counter", "Counter", base.DEC),
  body = ProtoField.bytes("l2link.body", "Body"),
  ciphertext = ProtoField.bytes("l2link.ciphertext", "Encrypted body"),
  tag = ProtoField.bytes("l2link.tag", "Tag"),
  padding = ProtoField.bytes("l2link.padding", "Padding"),
  reserved = ProtoField.bytes("l2link.reserved", "Reserved"),

  hello = ProtoField.none("l2link.hello", "HELLO"),
  handshake = ProtoField.none("l2link.handshake", "Handshake"),
  keepalive = ProtoField.none("l2link.keepalive", "KEEPALIVE"),
  segment = ProtoField.none("l2link.segment", "SEGMENT"),
  ack = ProtoField.none("l2link.ack", "ACK"),
  close = ProtoField.none("l2link.close", "CLOSE"),
  parcel = ProtoField.none("l2link.parcel", "Parcel"),
  piece = ProtoField.none("l2link.piece", "PIECE"),

  tlv = ProtoField.none("l2link.tlv", "TLV"),
  tlv_type = ProtoField.uint16("l2link.tlv.type", "Type", base.HEX, TLVS),
  tlv_length = ProtoField.uint16("l2link.tlv.length", "Length", base.DEC),
  tlv_value = ProtoField.bytes("l2link.tlv.value", "Value"),
  name = ProtoField.string("l2link.name", "Name", base.UNICODE),
  text = ProtoField.string("l2link.text", "Text", base.UNICODE),
  address = ProtoField.ipv6("l2link.address", "Address"),
  prefix_length = ProtoField.uint8("l2link.prefix_length", "Prefix length", base.DEC),

  port_address = ProtoField.none("l2link.port_address", "Address"),
  address_flags = ProtoField.uint8("l2link.address.flags", "Flags", base.HEX),
  address_given = ProtoField.bool("l2link.address.given", "Given by a control", 8, nil, 0x1),

  hello_role = ProtoField.uint8("l2link.hello.role", "Role", base.DEC, ROLES),
  hello_mode = ProtoField.uint8("l2link.hello.mode", "Mode", base.DEC, MODES),
  hello_data = ProtoField.uint8("l2link.hello.data", "Data protection", base.DEC, PROTECTIONS),
  hello_control = ProtoField.uint8("l2link.hello.control", "Control protection", base.DEC, PROTECTIONS),
  hello_boot = ProtoField.uint64("l2link.hello.boot", "Boot id", base.HEX),

  handshake_sender = ProtoField.uint32("l2link.handshake.sender", "Sender's session index", base.HEX),
  handshake_association = ProtoField.uint64("l2link.handshake.association", "Association", base.HEX),
  handshake_noise = ProtoField.bytes("l2link.handshake.noise", "Noise message"),

  keepalive_sent = ProtoField.uint64("l2link.keepalive.sent", "Sent (µs)", base.DEC),
  keepalive_echo = ProtoField.uint64("l2link.keepalive.echo", "Echo (µs)", base.DEC),
  keepalive_held = ProtoField.uint32("l2link.keepalive.held", "Held (µs)", base.DEC),
  keepalive_interval = ProtoField.uint32("l2link.keepalive.interval", "Interval (µs)", base.DEC),

  segment_stream = ProtoField.uint8("l2link.segment.stream", "Stream", base.DEC, STREAMS),
  segment_offset = ProtoField.uint64("l2link.segment.offset", "Offset", base.DEC),
  segment_bytes = ProtoField.bytes("l2link.segment.bytes", "Bytes of the stream"),

  ack_stream = ProtoField.uint8("l2link.ack.stream", "Stream", base.DEC, STREAMS),
  ack_count = ProtoField.uint8("l2link.ack.count", "Ranges", base.DEC),
  ack_cumulative = ProtoField.uint64("l2link.ack.cumulative", "Cumulative", base.DEC),
  ack_limit = ProtoField.uint64("l2link.ack.limit", "Limit", base.DEC),
  ack_range = ProtoField.none("l2link.ack.range", "Range"),
  ack_start = ProtoField.uint64("l2link.ack.start", "Start", base.DEC),
  ack_end = ProtoField.uint64("l2link.ack.end", "End", base.DEC),

  close_reason = ProtoField.uint16("l2link.close.reason", "Reason", base.DEC, CLOSE_REASONS),

  data_tunnel = ProtoField.uint32("l2link.data.tunnel", "Tunnel", base.DEC),
  data_length = ProtoField.uint16("l2link.data.length", "Parcel length", base.DEC),
  piece_tunnel = ProtoField.uint32("l2link.piece.tunnel", "Tunnel", base.DEC),
  piece_number = ProtoField.uint32("l2link.piece.number", "Parcel number", base.DEC),
  piece_last = ProtoField.bool("l2link.piece.last", "Last", 32, nil, 0x80000000),
  piece_offset = ProtoField.uint32("l2link.piece.offset", "Offset", base.DEC, nil, 0x7fffffff),
  piece_bytes = ProtoField.bytes("l2link.piece.bytes", "Bytes of the parcel"),
  packet_tunnel = ProtoField.uint32("l2link.packet.tunnel", "Tunnel", base.DEC),

  offload = ProtoField.none("l2link.offload", "Offload header"),
  offload_flags = ProtoField.uint8("l2link.offload.flags", "Flags", base.HEX),
  offload_gso_type = ProtoField.uint8("l2link.offload.gso_type", "GSO type", base.HEX),
  offload_header_length = ProtoField.uint16("l2link.offload.header_length", "Header length", base.DEC),
  offload_gso_size = ProtoField.uint16("l2link.offload.gso_size", "GSO size", base.DEC),
  offload_checksum_start = ProtoField.uint16("l2link.offload.checksum_start", "Checksum start", base.DEC),
  offload_checksum_offset = ProtoField.uint16("l2link.offload.checksum_offset", "Checksum offset", base.DEC),

  message = ProtoField.none("l2link.message", "Message"),
  message_type = ProtoField.uint16("l2link.message.type", "Type", base.HEX, MESSAGES),
  message_length = ProtoField.uint32("l2link.message.length", "Length", base.DEC),
  message_body = ProtoField.bytes("l2link.message.body", "Body"),

  request = ProtoField.uint32("l2link.request", "Request", base.DEC),
  symbol = ProtoField.uint32("l2link.symbol", "Symbol", base.DEC),
  port = ProtoField.uint32("l2link.port", "Port", base.DEC),
  up_tunnel = ProtoField.uint32("l2link.up_tunnel", "Up tunnel", base.DEC),
  down_tunnel = ProtoField.uint32("l2link.down_tunnel", "Down tunnel", base.DEC),
  status = ProtoField.uint16("l2link.status", "Status", base.DEC, STATUSES),
  weight = ProtoField.uint16("l2link.weight", "Weight", base.DEC),

  port_route = ProtoField.none("l2link.port_route", "Route"),
  port_route_destination = ProtoField.ipv6("l2link.port_route.destination", "Destination"),
  port_route_gateway = ProtoField.ipv6("l2link.port_route.gateway", "Gateway"),
  port_route_length = ProtoField.uint8("l2link.port_route.prefix_length", "Prefix length", base.DEC),
  port_route_flags = ProtoField.uint8("l2link.port_route.flags", "Flags", base.HEX),
  port_route_onlink = ProtoField.bool("l2link.port_route.onlink", "On link", 8, nil, 0x1),

  attributes = ProtoField.none("l2link.attributes", "Attributes"),
  attributes_generation = ProtoField.uint32("l2link.attributes.generation", "Generation", base.DEC),
  attributes_flags = ProtoField.uint32("l2link.attributes.flags", "Flags", base.HEX),
  attributes_present = ProtoField.bool("l2link.attributes.flags.present", "Present", 32, nil, 0x1),
  attributes_up = ProtoField.bool("l2link.attributes.flags.up", "Up", 32, nil, 0x2),
  attributes_carrier = ProtoField.bool("l2link.attributes.flags.carrier", "Carrier", 32, nil, 0x4),
  attributes_mtu = ProtoField.uint32("l2link.attributes.mtu", "MTU", base.DEC),
  attributes_speed = ProtoField.uint32("l2link.attributes.speed", "Speed (Mb/s)", base.DEC),
  attributes_mac = ProtoField.ether("l2link.attributes.mac", "MAC"),

  protocol_address = ProtoField.none("l2link.protocol_address", "Protocol address"),
  address_class = ProtoField.uint8("l2link.protocol_address.class", "Class", base.DEC, CLASSES),
  address_family = ProtoField.uint8("l2link.protocol_address.family", "Family", base.DEC, FAMILIES),
  address_protocol = ProtoField.uint16("l2link.protocol_address.protocol", "Protocol", base.DEC),
  address_ethertype = ProtoField.uint16("l2link.protocol_address.ethertype", "EtherType", base.HEX),
  address_local_port = ProtoField.uint16("l2link.protocol_address.local_port", "Local port", base.DEC),
  address_remote_port = ProtoField.uint16("l2link.protocol_address.remote_port", "Remote port", base.DEC),
  address_local = ProtoField.ipv6("l2link.protocol_address.local", "Local address"),
  address_remote = ProtoField.ipv6("l2link.protocol_address.remote", "Remote address"),

  membership_class = ProtoField.uint8("l2link.membership.class", "Class", base.DEC, GROUP_CLASSES),
  membership_group = ProtoField.ipv6("l2link.membership.group", "Group"),
  membership_mac = ProtoField.ether("l2link.membership.mac", "Group"),

  virtual_address = ProtoField.ipv6("l2link.translation.virtual", "Virtual address"),
  control_address = ProtoField.ipv6("l2link.translation.control", "Control address"),

  route_family = ProtoField.uint8("l2link.route.family", "Family", base.DEC, ROUTE_FAMILIES),
  route_prefix_length = ProtoField.uint8("l2link.route.prefix_length", "Prefix length", base.DEC),
  route_table = ProtoField.uint32("l2link.route.table", "Table", base.DEC),
  route_metric = ProtoField.uint32("l2link.route.metric", "Metric", base.DEC),
  route_prefix = ProtoField.ipv6("l2link.route.prefix", "Prefix"),
  route_mtu = ProtoField.uint32("l2link.route.mtu", "MTU", base.DEC),
  route_kind = ProtoField.uint8("l2link.route.kind", "Kind", base.DEC, ROUTE_KINDS),
  relay_name = ProtoField.string("l2link.relay", "Relay"),
  public_key = ProtoField.bytes("l2link.public_key", "Public key"),
  introduction_mac = ProtoField.ether("l2link.introduction.mac", "Address"),
  introduction_salt = ProtoField.bytes("l2link.introduction.salt", "Salt"),
  route_count = ProtoField.uint16("l2link.route.count", "Nexthops", base.DEC),
  nexthop = ProtoField.none("l2link.nexthop", "Nexthop"),
  nexthop_flags = ProtoField.uint8("l2link.nexthop.flags", "Flags", base.HEX),
  nexthop_onlink = ProtoField.bool("l2link.nexthop.onlink", "On link", 8, nil, 0x1),
  nexthop_at_relay = ProtoField.bool("l2link.nexthop.at_relay", "At another relay", 8, nil, 0x2),
  nexthop_family = ProtoField.uint8("l2link.nexthop.family", "Family", base.DEC, ROUTE_FAMILIES),
  nexthop_gateway = ProtoField.ipv6("l2link.nexthop.gateway", "Gateway"),

  slice_prefix = ProtoField.uint32("l2link.slice.prefix", "First bits of the hash", base.HEX),
  slice_bits = ProtoField.uint8("l2link.slice.bits", "Bits", base.DEC),
  digest = ProtoField.none("l2link.digest", "Digest"),
  digest_count = ProtoField.uint32("l2link.digest.count", "Routes", base.DEC),
  digest_sum = ProtoField.uint64("l2link.digest.sum", "Sum", base.HEX),

  flows_flags = ProtoField.uint16("l2link.flows.flags", "Flags", base.HEX),
  flows_last = ProtoField.bool("l2link.flows.last", "Last", 16, nil, 0x1),
  flows_count = ProtoField.uint16("l2link.flows.count", "Flows", base.DEC),
  flow = ProtoField.none("l2link.flow", "Flow"),
  flow_local_port = ProtoField.uint16("l2link.flow.local_port", "Local port", base.DEC),
  flow_remote_port = ProtoField.uint16("l2link.flow.remote_port", "Remote port", base.DEC),
  flow_local = ProtoField.ipv6("l2link.flow.local", "Local address"),
  flow_remote = ProtoField.ipv6("l2link.flow.remote", "Remote address"),

  -- What follows is not on the wire.
  drop = ProtoField.string("l2link.drop", "Drop reason"),
  response_in = ProtoField.framenum("l2link.response_in", "Response in", base.NONE, frametype.RESPONSE),
  response_to = ProtoField.framenum("l2link.response_to", "Response to", base.NONE, frametype.REQUEST),
  time = ProtoField.relative_time("l2link.time", "Time since the request"),
  acked_in = ProtoField.framenum("l2link.acked_in", "Acknowledged in", base.NONE, frametype.ACK),
  acks = ProtoField.framenum("l2link.acks", "Acknowledges", base.NONE, frametype.ACK),
  reassembled_in = ProtoField.framenum("l2link.reassembled_in", "Put together in"),
}
l2link.fields = f

local e = {
  cut = ProtoExpert.new(
    "l2link.cut", "The capture holds only the beginning of this frame", expert.group.UNDECODED, expert.severity.NOTE),
  retransmission = ProtoExpert.new(
    "l2link.segment.retransmission", "Bytes seen before", expert.group.SEQUENCE, expert.severity.NOTE),
  gap = ProtoExpert.new(
    "l2link.segment.gap", "Bytes before these are missing so far", expert.group.SEQUENCE, expert.severity.NOTE),
  no_response = ProtoExpert.new(
    "l2link.no_response", "No response in this capture", expert.group.SEQUENCE, expert.severity.WARN),
  refused = ProtoExpert.new("l2link.refused", "Refused", expert.group.RESPONSE_CODE, expert.severity.NOTE),
  encrypted = ProtoExpert.new(
    "l2link.encrypted", "Encrypted: `l2dump --keylog KEYS -r IN -w OUT` makes a readable capture",
    expert.group.DECRYPTION, expert.severity.CHAT),
  notice = ProtoExpert.new("l2link.notice", "A notice for the operator", expert.group.COMMENTS_GROUP, expert.severity.NOTE),
}
-- Those of the drop reasons that a capture can tell. Each is an expert item of its own, besides the field l2link.drop.
for reason, severity in pairs({
  ["truncated"] = expert.severity.ERROR,
  ["version"] = expert.severity.WARN,
  ["unknown-kind"] = expert.severity.WARN,
  ["own-frame"] = expert.severity.WARN,
  ["mode-mismatch"] = expert.severity.WARN,
  ["name-in-use"] = expert.severity.WARN,
  ["not-sealed"] = expert.severity.WARN,
  ["replayed"] = expert.severity.WARN,
  ["malformed"] = expert.severity.ERROR,
  ["over-credit"] = expert.severity.WARN,
  ["bad-message"] = expert.severity.ERROR,
  ["bad-piece"] = expert.severity.WARN,
  ["incomplete-parcel"] = expert.severity.WARN,
  ["bad-offload"] = expert.severity.WARN,
}) do
  local group = severity == expert.severity.ERROR and expert.group.MALFORMED or expert.group.PROTOCOL
  e[reason] = ProtoExpert.new("l2link.drop." .. reason:gsub("-", "_"), DROP_REASONS[reason], group, severity)
end
l2link.experts = e

l2link.prefs.ethertype = Pref.uint("EtherType (decimal)", DEFAULT_ETHERTYPE, "EtherType of the protocol")

-- A frame or a part of it that a receiver drops.
local function drop(tree, reason)
  tree:add(f.drop, reason):set_generated()
  tree:add_proto_expert_info(e[reason])
end

-- Reading.

local TRUNCATED = {}

-- By field, what the texts call it.
local names = {}
for name, field in pairs(f) do
  names[field] = name
end

-- Bytes `from` up to and without `to` of a tvb, read from front to back into a tree. What is read is noted in `values` by
-- the field's name in `f`.
local Cursor = {}
Cursor.__index = Cursor

local function cursor(tvb, from, to)
  return setmetatable({ tvb = tvb, at = from, to = to, values = {} }, Cursor)
end

function Cursor:left()
  return self.to - self.at
end

-- The next bytes; nil if none are asked for, as Wireshark has no empty range.
function Cursor:take(length)
  if length > self:left() then
    error(TRUNCATED, 0)
  end
  local at = self.at
  self.at = at + length
  if length == 0 then
    return nil
  end
  return self.tvb:range(at, length)
end

-- The next bytes as a cursor of their own.
function Cursor:sub(length)
  if length > self:left() then
    error(TRUNCATED, 0)
  end
  self.at = self.at + length
  local part = cursor(self.tvb, self.at - length, self.at)
  part.values = self.values
  return part
end

-- A subtree for up to `length` bytes, and for all that is left without one.
function Cursor:item(tree, field, length)
  local left = self:left()
  length = math.min(length or left, left)
  return length > 0 and tree:add(field, self.tvb:range(self.at, length)) or tree:add(field)
end

-- Adds the next bytes to the tree and returns their range.
function Cursor:add(tree, field, length)
  local range = self:take(length)
  if range then
    tree:add(field, range)
  end
  return range
end

function Cursor:note(field, value)
  self.values[names[field]] = value
  return value
end

function Cursor:u8(tree, field)
  return self:note(field, self:add(tree, field, 1):uint())
end

function Cursor:u16(tree, field)
  return self:note(field, self:add(tree, field, 2):uint())
end

function Cursor:u32(tree, field)
  return self:note(field, self:add(tree, field, 4):uint())
end

-- As a UInt64; as a Lua number it is exact up to 2^53.
function Cursor:u64(tree, field)
  return self:note(field, self:add(tree, field, 8):uint64())
end

-- As hexadecimal digits.
function Cursor:hex(tree, field, length)
  return self:note(field, tostring(self:add(tree, field, length):bytes()):lower())
end

-- Bits of an octet, a word or a double word: the first field is the whole, the others one bit each.
function Cursor:bits(tree, length, whole, ...)
  local range = self:take(length)
  local value = self:note(whole, range:uint())
  local item = tree:add(whole, range)
  for _, field in ipairs({ ... }) do
    item:add(field, range)
  end
  return value
end

function Cursor:reserved(tree, length)
  self:add(tree, f.reserved, length)
end

-- Adds all that is left as a text in UTF-8.
function Cursor:text(tree, field)
  local range = self:take(self:left())
  if range then
    tree:add_packet_field(field, range, ENC_UTF_8)
  end
  self:note(field, range and range:string(ENC_UTF_8) or "")
end

-- Adds all that is left.
function Cursor:rest(tree, field)
  return self:add(tree, field, self:left())
end

-- Texts, as `l2dump` and the daemons' logs word them.

local function is_set(value, bit)
  return value % (2 * bit) >= bit
end

local function mac_text(range)
  return (tostring(range:bytes()):lower():gsub("(%x%x)", "%1:"):sub(1, -2))
end

local function ipv4_text(bytes)
  return string.format("%d.%d.%d.%d", bytes:byte(-4, -1))
end

-- RFC 5952: the longest run of two or more zero groups, the first of equal ones, is left out.
local function ipv6_text(bytes)
  local groups, best, length = {}, nil, 1
  for at = 1, 8 do
    local high, low = bytes:byte(2 * at - 1, 2 * at)
    groups[at] = high * 0x100 + low
  end
  local at = 1
  while at <= 8 do
    local to = at
    while to <= 8 and groups[to] == 0 do
      to = to + 1
    end
    if to - at > length then
      best, length = at, to - at
    end
    at = math.max(to, at + 1)
  end
  local words = {}
  for index, group in ipairs(groups) do
    words[index] = string.format("%x", group)
  end
  if not best then
    return table.concat(words, ":")
  end
  return table.concat(words, ":", 1, best - 1) .. "::" .. table.concat(words, ":", best + length)
end

local MAPPED = string.rep("\0", 10) .. "\255\255"
local ANY = string.rep("\0", 16)

-- An address as the wire has it: IPv4-mapped is IPv4.
local function ip_text(bytes)
  return bytes:sub(1, 12) == MAPPED and ipv4_text(bytes) or ipv6_text(bytes)
end

-- An address whose version a field of its own tells.
local function family_text(family, bytes)
  if family == 4 then
    return ipv4_text(bytes)
  end
  return bytes:sub(1, 12) == MAPPED and "::ffff:" .. ipv4_text(bytes) or ipv6_text(bytes)
end

-- An address before a port number.
local function host_text(bytes)
  local text = ip_text(bytes)
  return text:find(":", 1, true) and "[" .. text .. "]" or text
end

-- Adds an address; what is noted is its 16 bytes.
function Cursor:ip(tree, field)
  return self:note(field, self:add(tree, field, 16):raw())
end

function Cursor:mac(tree, field)
  return self:note(field, mac_text(self:add(tree, field, 6)))
end

-- Notes a part of a list as a text.
function Cursor:list(name, text)
  local list = self.values[name] or {}
  self.values[name] = list
  table.insert(list, text)
end

-- TLVs.

-- An address of a port; what is noted is its text.
local function port_address(c, tree)
  local bytes = c:ip(tree, f.address)
  local text = string.format("%s/%d", ip_text(bytes), c:u8(tree, f.prefix_length))
  c:bits(tree, 1, f.address_flags, f.address_given)
  c:reserved(tree, 2)
  c:list("addresses", text)
end

local function addresses(c, tree)
  while c:left() > 0 do
    port_address(c, c:item(tree, f.port_address, 20))
  end
end

local function port_routes(c, tree)
  while c:left() > 0 do
    local item = c:item(tree, f.port_route, 36)
    local destination = c:ip(item, f.port_route_destination)
    local gateway = c:ip(item, f.port_route_gateway)
    local text = string.format("route %s/%d", ip_text(destination), c:u8(item, f.port_route_length))
    local flags = c:bits(item, 1, f.port_route_flags, f.port_route_onlink)
    c:reserved(item, 2)
    local via = gateway ~= ANY and gateway ~= MAPPED .. "\0\0\0\0" and " via " .. ip_text(gateway) or ""
    c:list("port_routes", text .. via .. (is_set(flags, 1) and " onlink" or ""))
  end
end

local function digest(c, tree)
  local item = c:item(tree, f.digest, 12)
  c:u32(item, f.digest_count)
  c:hex(item, f.digest_sum, 8)
end

local TLV_VALUES = {
  [0x0001] = function(c, tree)
    c:text(tree, f.name)
  end,
  [0x0002] = addresses,
  [0x0003] = function(c, tree)
    c:text(tree, f.text)
  end,
  [0x0004] = function(c, tree)
    c:u32(tree, f.request)
    digest(c, tree)
  end,
  [0x0008] = port_routes,
  [0x0010] = function(c, tree)
    c:text(tree, f.relay_name)
  end,
  [0x0011] = function(c, tree)
    c:hex(tree, f.public_key, 32)
    c.values.public_key = " with its key"
  end,
}

-- A TLV that is not known and must be is reason to refuse what holds it.
local function tlvs(c, tree)
  local is_refused = false
  while c:left() > 0 do
    local item = c:item(tree, f.tlv)
    local kind = c:add(item, f.tlv_type, 2):uint()
    local length = c:add(item, f.tlv_length, 2):uint()
    item:set_text("TLV " .. (TLVS[kind] or string.format("0x%04x", kind)))
    item:set_len(math.min(4 + length, c:left() + 4))
    local value = c:sub(length)
    local dissect = TLV_VALUES[kind]
    if dissect then
      dissect(value, item)
    else
      value:rest(item, f.tlv_value)
      is_refused = is_refused or kind >= TLV_MANDATORY
    end
  end
  return is_refused
end

-- Messages: each function gets the cursor at the end of the message's header.

local function attributes(c, tree)
  local item = c:item(tree, f.attributes, 24)
  c:u32(item, f.attributes_generation)
  local flags = c:bits(
    item, 4, f.attributes_flags, f.attributes_present, f.attributes_up, f.attributes_carrier)
  c.values.state = not is_set(flags, 1) and "absent"
    or not is_set(flags, 2) and "down"
    or not is_set(flags, 4) and "no-carrier"
    or "up"
  c:u32(item, f.attributes_mtu)
  c:u32(item, f.attributes_speed)
  c:mac(item, f.attributes_mac)
  c:reserved(item, 2)
end

local function flow(c, tree)
  local item = c:item(tree, f.flow, 36)
  c:u16(item, f.flow_local_port)
  c:u16(item, f.flow_remote_port)
  c:ip(item, f.flow_local)
  c:ip(item, f.flow_remote)
end

local function protocol_text(number)
  return PROTOCOLS[number] or "protocol " .. number
end

-- The local address of a socket.
local function local_text(family, bytes)
  if bytes ~= ANY and bytes ~= MAPPED .. "\0\0\0\0" then
    return host_text(bytes)
  end
  return family == 0 and "*" or family == 4 and "0.0.0.0" or "[::]"
end

local function protocol_address(c, tree)
  local item = c:item(tree, f.protocol_address, 40)
  local class = c:u8(item, f.address_class)
  local family = c:u8(item, f.address_family)
  local protocol = c:u16(item, class == CLASS_ETHERTYPE and f.address_ethertype or f.address_protocol)
  local local_port = c:u16(item, f.address_local_port)
  local remote_port = c:u16(item, f.address_remote_port)
  local own = c:ip(item, f.address_local)
  local remote = c:ip(item, f.address_remote)
  local text
  if class == CLASS_LISTENER then
    text = string.format("%s %s:%d", protocol_text(protocol), local_text(family, own), local_port)
  elseif class == CLASS_FLOW then
    text = string.format(
      "%s %s:%d from %s:%d", protocol_text(protocol), host_text(own), local_port, host_text(remote), remote_port)
  elseif class == CLASS_IP_PROTOCOL then
    text = string.format("ip %s %s", protocol_text(protocol), local_text(family, own))
  elseif class == CLASS_ETHERTYPE then
    text = string.format("ethertype 0x%04x", protocol)
  else
    text = "class " .. class
  end
  item:append_text(": " .. text)
  c.values.protocol_address = text
end

local function rule_add(c, tree)
  c:u32(tree, f.request)
  c:u32(tree, f.symbol)
  c:u32(tree, f.port)
  c:u32(tree, f.up_tunnel)
  c:u16(tree, f.weight)
  c:reserved(tree, 2)
  protocol_address(c, tree)
end

local function translation(c, tree)
  local outside = c:ip(tree, f.virtual_address)
  local own = c:ip(tree, f.control_address)
  c.values.translation = ip_text(outside) .. " as " .. ip_text(own)
end

local function rule_delete(c, tree)
  c:u32(tree, f.request)
  c:u32(tree, f.up_tunnel)
end

local function membership(c, tree)
  c:u32(tree, f.port)
  local class = c:u8(tree, f.membership_class)
  c:reserved(tree, 3)
  if class == GROUP_ETHERNET then
    c.values.group = c:mac(tree, f.membership_mac)
    c:reserved(tree, 10)
  else
    c.values.group = ip_text(c:ip(tree, f.membership_group))
  end
end

local function route_key(c, tree)
  local family = c:u8(tree, f.route_family)
  local length = c:u8(tree, f.route_prefix_length)
  c:reserved(tree, 2)
  local routing_table = c:u32(tree, f.route_table)
  local metric = c:u32(tree, f.route_metric)
  local prefix = family_text(family, c:ip(tree, f.route_prefix))
  c.values.route_key = string.format("%s/%d metric %d", prefix, length, metric)
    .. (routing_table ~= TABLE_MAIN and " table " .. routing_table or "")
end

local function nexthop(c, tree)
  local item = c:item(tree, f.nexthop, 24)
  local port = c:u32(item, f.port)
  local weight = c:u16(item, f.weight)
  local flags = c:bits(item, 1, f.nexthop_flags, f.nexthop_onlink, f.nexthop_at_relay)
  local family = c:u8(item, f.nexthop_family)
  local gateway = c:ip(item, f.nexthop_gateway)
  local text = (family ~= 0 and "via " .. family_text(family, gateway) .. " " or "")
    .. (is_set(flags, 2) and "another relay's port, symbol " or "port ")
    .. port
    .. (weight ~= 1 and " weight " .. weight or "")
    .. (is_set(flags, 1) and " onlink" or "")
  item:append_text(": " .. text)
  c:list("nexthops", text)
end

local function slice(c, tree)
  c:u32(tree, f.request)
  c:u32(tree, f.slice_prefix)
  c:u8(tree, f.slice_bits)
  c:reserved(tree, 3)
end

-- Reads `count` parts.
local function each(count, read, c, tree)
  for _ = 1, count do
    if c:left() == 0 then
      error(TRUNCATED, 0)
    end
    read(c, tree)
  end
end

local MESSAGE_BODIES = {
  PORT_REQUEST = function(c, tree)
    c:u32(tree, f.request)
    c:u32(tree, f.symbol)
  end,
  PORT_REPLY = function(c, tree)
    c:u32(tree, f.request)
    c:u32(tree, f.symbol)
    c:u32(tree, f.port)
    local status = c:u16(tree, f.status)
    c:reserved(tree, 2)
    if status == STATUS_OK then
      attributes(c, tree)
    end
  end,
  PORT_UPDATE = function(c, tree)
    c:u32(tree, f.port)
    attributes(c, tree)
  end,
  PORT_RELEASE = function(c, tree)
    c:u32(tree, f.symbol)
    c:u32(tree, f.port)
  end,
  TUNNEL_REQUEST = function(c, tree)
    c:u32(tree, f.request)
    c:u32(tree, f.symbol)
    c:u32(tree, f.port)
  end,
  TUNNEL_REPLY = function(c, tree)
    c:u32(tree, f.request)
    c:u32(tree, f.symbol)
    c:u32(tree, f.port)
    c:u32(tree, f.down_tunnel)
    c:u16(tree, f.status)
    c:reserved(tree, 2)
  end,
  RULE_ADD = rule_add,
  RULE_REPLY = function(c, tree)
    c:u32(tree, f.request)
    c:u32(tree, f.up_tunnel)
    c:u16(tree, f.status)
    c:reserved(tree, 2)
  end,
  RULE_DELETE = rule_delete,
  RULE_DELETED = rule_delete,
  RULES_END = function() end,
  MEMBERSHIP_ADD = membership,
  MEMBERSHIP_DELETE = membership,
  NOTICE = function(c, tree)
    c:u16(tree, f.status)
    c:reserved(tree, 2)
  end,
  PORT_ADDRESSES = function(c, tree)
    c:u32(tree, f.port)
  end,
  ADDRESS_REPLY = function(c, tree)
    c:u32(tree, f.port)
    port_address(c, tree)
    c:u16(tree, f.status)
    c:reserved(tree, 2)
  end,
  ROUTE_ADD = function(c, tree)
    c:u32(tree, f.request)
    route_key(c, tree)
    c:u32(tree, f.route_mtu)
    c:u8(tree, f.route_kind)
    c:reserved(tree, 1)
    each(c:u16(tree, f.route_count), nexthop, c, tree)
  end,
  ROUTE_DELETE = function(c, tree)
    c:u32(tree, f.request)
    route_key(c, tree)
  end,
  ROUTE_REPLY = function(c, tree)
    route_key(c, tree)
    c:u16(tree, f.status)
    c:reserved(tree, 2)
  end,
  ROUTES_DONE = function(c, tree)
    c:u32(tree, f.request)
  end,
  ROUTES_BEGIN = slice,
  ROUTES_END = slice,
  ROUTES_DIGEST_REQUEST = slice,
  ROUTES_DIGEST_REPLY = function(c, tree)
    slice(c, tree)
    each(DIGEST_PARTS, digest, c, tree)
  end,
  TRANSLATION_REQUEST = function(c, tree)
    c:u32(tree, f.request)
    c:u32(tree, f.symbol)
    c:u32(tree, f.port)
    translation(c, tree)
  end,
  TRANSLATION_REPLY = function(c, tree)
    c:u32(tree, f.request)
    c:u32(tree, f.symbol)
    c:u16(tree, f.status)
    c:reserved(tree, 2)
  end,
  TRANSLATED_RULE_ADD = function(c, tree)
    rule_add(c, tree)
    translation(c, tree)
  end,
  FLOWS_REQUEST = function(c, tree)
    c:u32(tree, f.request)
    c:u32(tree, f.up_tunnel)
  end,
  FLOWS = function(c, tree)
    c:u32(tree, f.request)
    c:u32(tree, f.up_tunnel)
    c.values.last = is_set(c:bits(tree, 2, f.flows_flags, f.flows_last), 1)
    each(c:u16(tree, f.flows_count), flow, c, tree)
  end,
  RELAY_INTRODUCE = function(c, tree)
    c:u32(tree, f.symbol)
    c:mac(tree, f.introduction_mac)
    c:reserved(tree, 2)
    c:hex(tree, f.introduction_salt, 32)
  end,
  RELAY_DISMISS = function(c, tree)
    c:u32(tree, f.symbol)
  end,
}

-- The line of a message: {NAME} is what was noted of the field of that name in `f`. Some have a form of their own.
local FORMS = {
  status = function(values)
    return STATUS_TEXTS[values.status] or "status " .. values.status
  end,
  remark = function(values)
    return values.text and values.text ~= "" and " (" .. values.text .. ")" or ""
  end,
  attributes = function(values)
    local text = string.format(
      "name %s generation %d %s mac %s mtu %d speed %d",
      values.name or "", values.attributes_generation, values.state, values.attributes_mac, values.attributes_mtu,
      values.attributes_speed)
    for _, list in ipairs({ values.addresses or {}, values.port_routes or {} }) do
      for _, part in ipairs(list) do
        text = text .. " " .. part
      end
    end
    return text
  end,
  addresses = function(values)
    return table.concat(values.addresses or {}, " ")
  end,
  route_kind = function(values)
    return ROUTE_KINDS[values.route_kind] or "kind " .. values.route_kind
  end,
  route_mtu = function(values)
    return values.route_mtu ~= 0 and " mtu " .. values.route_mtu or ""
  end,
  nexthops = function(values)
    local list = values.nexthops or {}
    return #list > 0 and " " .. table.concat(list, " ") or ""
  end,
  slice = function(values)
    return string.format("slice %08x/%d", values.slice_prefix, values.slice_bits)
  end,
  last = function(values)
    return values.last and " last" or ""
  end,
}

local MESSAGE_TEXTS = {
  PORT_REQUEST = "request {request} symbol {symbol} name {name}",
  PORT_REPLY = function(values)
    local text = "request {request} symbol {symbol} port {port}: {status}"
    return text .. (values.status == STATUS_OK and ", {attributes}" or "{remark}")
  end,
  PORT_UPDATE = "port {port}: {attributes}",
  PORT_RELEASE = "symbol {symbol} port {port}",
  PORT_ADDRESSES = function(values)
    return "port {port}" .. (values.addresses and " {addresses}" or "")
  end,
  ADDRESS_REPLY = "port {port} {addresses} {status}{remark}",
  TUNNEL_REQUEST = "request {request} symbol {symbol} port {port}",
  TUNNEL_REPLY = "request {request} symbol {symbol} port {port} down {down_tunnel}: {status}",
  RULE_ADD = "request {request} symbol {symbol} port {port} up {up_tunnel} weight {weight}: {protocol_address}",
  RULE_REPLY = "request {request} up {up_tunnel}: {status}{remark}",
  RULE_DELETE = "request {request} up {up_tunnel}",
  RULE_DELETED = "request {request} up {up_tunnel}",
  RULES_END = "",
  MEMBERSHIP_ADD = "port {port} group {group}",
  MEMBERSHIP_DELETE = "port {port} group {group}",
  NOTICE = "{status}: {text}",
  ROUTE_ADD = "request {request} {route_key} {route_kind}{route_mtu}{nexthops}",
  ROUTE_DELETE = "request {request} {route_key}",
  ROUTE_REPLY = "{route_key} {status}{remark}",
  ROUTES_DONE = "request {request}",
  ROUTES_BEGIN = "request {request} {slice}",
  ROUTES_END = "request {request} {slice}",
  ROUTES_DIGEST_REQUEST = "request {request} {slice}",
  ROUTES_DIGEST_REPLY = "request {request} {slice}",
  TRANSLATION_REQUEST = "request {request} symbol {symbol} port {port} {translation}",
  TRANSLATION_REPLY = "request {request} symbol {symbol}: {status}{remark}",
  TRANSLATED_RULE_ADD = "request {request} symbol {symbol} port {port} up {up_tunnel} weight {weight}: "
    .. "{protocol_address}, {translation}",
  FLOWS_REQUEST = "request {request} up {up_tunnel}",
  FLOWS = "request {request} up {up_tunnel} flows {flows_count}{last}",
  RELAY_INTRODUCE = "symbol {symbol} relay {relay_name} at {introduction_mac} name {name}{public_key}",
  RELAY_DISMISS = "symbol {symbol}",
}

local function fill_in(text, values)
  return (text:gsub("{([%w_]+)}", function(name)
    local form = FORMS[name]
    return form and form(values) or tostring(values[name] or "")
  end))
end

local function message_text(name, values)
  local text = MESSAGE_TEXTS[name]
  text = fill_in(type(text) == "function" and text(values) or text or "", values)
  return text == "" and name or name .. " " .. text
end

-- What happened in the first pass, by number of frame: later passes come in any order.

local state

local function forget()
  state = {
    streams = {}, -- [direction and stream] = { receiver, next, buffer, frames, pending, waiting, limit }
    segments = {}, -- [frame] = what it completed, see take_segment
    acks = {}, -- [frame] = the segment that it acknowledges
    reassembled_in = {}, -- [frame] = where what it holds a part of was put together
    parcels = {}, -- [direction, receiver and number] = { pieces = { [offset] = bytes }, frames, size = … }
    completed_parcels = {}, -- [frame] = bytes
    bad_pieces = {}, -- [frame] = true
    pending = {}, -- [what pairs a reply with its request] = request
    flows = {}, -- [direction and tunnel] = the newest FLOWS_REQUEST
    routes = {}, -- [direction] = route messages without ROUTES_DONE, oldest first
    exchanges = {}, -- [frame] = { exchange, … }, one for each message
    hellos = {}, -- [source] = { role, mode, data, control }
    mismatches = {}, -- [frame] = true
    counters = {}, -- [destination and receiver] = { newest = …, seen = { [counter] = true } }
    replayed = {}, -- [frame] = true
    unsealed = {}, -- [frame] = true
    keepalives = {}, -- [direction] = the newest
    last = 0, -- time of the newest frame
  }
end
forget()

local function there(pinfo)
  return tostring(pinfo.dl_src) .. " " .. tostring(pinfo.dl_dst)
end

local function back(pinfo)
  return tostring(pinfo.dl_dst) .. " " .. tostring(pinfo.dl_src)
end

-- Requests and their replies.

local function request(pinfo)
  return { frame = pinfo.number, time = pinfo.rel_ts }
end

-- First pass: `asked` is answered by this frame.
local function answer(asked, pinfo)
  asked.response_in = asked.response_in or pinfo.number
  return { response_to = asked.frame, took = pinfo.rel_ts - asked.time }
end

-- First pass: a newer FLOWS_REQUEST takes the place of an older one of the same tunnel, and the end of a rule that of all.
local function note_flows(name, values, pinfo, asked)
  if name ~= "FLOWS_REQUEST" and name ~= "RULE_DELETE" then
    return
  end
  local asker = name == "FLOWS_REQUEST" and there(pinfo) or back(pinfo)
  local key = asker .. " " .. values.up_tunnel
  if state.flows[key] then
    state.flows[key].is_void = true
  end
  state.flows[key] = name == "FLOWS_REQUEST" and asked or nil
end

-- First pass: pairs a message with its request, or notes it as one.
local function pair(name, values, pinfo)
  local exchange = EXCHANGES[name]
  if not exchange then
    return {}
  end
  if exchange.asks then
    local asked = request(pinfo)
    local key = table.concat({ exchange.asks, there(pinfo), values.request }, " ")
    state.pending[key] = asked
    note_flows(name, values, pinfo, asked)
    if exchange.asks == "routes" then
      local list = state.routes[there(pinfo)] or {}
      state.routes[there(pinfo)] = list
      table.insert(list, { number = values.request, asked = asked, key = key })
    end
    return asked
  end
  if exchange.all_before then
    local list, result = state.routes[back(pinfo)] or {}, {}
    local first_left = 1
    while list[first_left] and list[first_left].number <= values.request do
      local done = list[first_left]
      result = answer(done.asked, pinfo)
      state.pending[done.key] = nil
      first_left = first_left + 1
    end
    local rest = {}
    for place = first_left, #list do
      table.insert(rest, list[place])
    end
    state.routes[back(pinfo)] = rest
    return result
  end
  local key = table.concat({ exchange.answers, back(pinfo), values.request }, " ")
  local asked = state.pending[key]
  if not asked then
    return {}
  end
  if name ~= "FLOWS" or values.last then
    state.pending[key] = nil
  end
  return answer(asked, pinfo)
end

local function seconds(time)
  local whole = math.floor(time)
  return NSTime.new(whole, math.min(math.floor((time - whole) * 1e9 + 0.5), 999999999))
end

-- Shows what pairs an exchange; `must_be_answered` complains of a request that was not.
local function show_exchange(exchange, tree, pinfo, must_be_answered)
  if exchange.response_to then
    tree:add(f.response_to, exchange.response_to):set_generated()
    tree:add(f.time, seconds(exchange.took)):set_generated()
  end
  if exchange.response_in then
    tree:add(f.response_in, exchange.response_in):set_generated()
  elseif exchange.frame and must_be_answered and not exchange.is_void and pinfo.visited and state.last - exchange.time > REPLY_TIME then
    tree:add_proto_expert_info(e.no_response)
  end
end

-- One whole message, the `place`th of its frame, or none that counts for exchanges; returns its line.
local function message(c, tree, pinfo, place)
  local item = c:item(tree, f.message)
  local kind = c:add(item, f.message_type, 2):uint()
  c:reserved(item, 2)
  c:u32(item, f.message_length)
  local name = MESSAGES[kind]
  if not name then
    local text = string.format("message 0x%04x", kind)
    item:set_text(text)
    local length = c:left()
    c:rest(item, f.message_body)
    return text .. " length " .. length
  end
  item:set_text(name)
  local done, problem = pcall(function()
    MESSAGE_BODIES[name](c, item)
    if tlvs(c, item) then
      error(TRUNCATED, 0)
    end
  end)
  if not done then
    if problem ~= TRUNCATED then
      error(problem, 0)
    end
    drop(item, "bad-message")
    return name .. " [bad-message]"
  end
  local values = c.values
  if place then
    local list = state.exchanges[pinfo.number] or {}
    state.exchanges[pinfo.number] = list
    if not pinfo.visited then
      list[place] = pair(name, values, pinfo)
    end
    show_exchange(list[place] or {}, item, pinfo, true)
  end
  local text = message_text(name, values)
  item:set_text(text)
  if name == "NOTICE" then
    item:add_proto_expert_info(e.notice, text)
  elseif values.status and values.status ~= STATUS_OK then
    item:add_proto_expert_info(e.refused, text)
  end
  return text
end

-- Streams.

local function u16_of(text, at)
  local a, b = text:byte(at, at + 1)
  return a * 0x100 + b
end

local function u32_of(text, at)
  return u16_of(text, at) * 0x10000 + u16_of(text, at + 2)
end

-- Length of the message whose header stands at `at`; nil if there is no whole header, false if it cannot be one.
local function message_length(text, at)
  if #text < at + MESSAGE_HEADER_LEN - 1 then
    return nil
  end
  local length = u32_of(text, at + 4) + MESSAGE_HEADER_LEN
  return length <= MESSAGE_MAX and u16_of(text, at + 2) == 0 and length
end

local function is_plausible_start(text)
  local length = message_length(text, 1)
  return length and MESSAGES[u16_of(text, 1)] ~= nil
end

-- Cuts whole messages off the stream's buffer; those that lie in the present segment are named by their place in it.
local function cut_messages(stream, offset, data, result, number)
  while true do
    local length = message_length(stream.buffer, 1)
    if length == false then
      return false
    end
    if not length or #stream.buffer < length then
      return true
    end
    local at = stream.next - offset
    if at >= 0 and at + length <= #data then
      table.insert(result, { at = at, length = length })
    else
      table.insert(result, { bytes = stream.buffer:sub(1, length) })
      for _, frame in ipairs(stream.frames) do
        state.reassembled_in[frame] = number
      end
    end
    stream.buffer = stream.buffer:sub(length + 1)
    stream.next = stream.next + length
    stream.frames = {}
  end
end

-- Whole messages of a segment that the stream cannot place, as far as they look like some.
local function guess_messages(data, result)
  local at = 1
  while at <= #data and is_plausible_start(data:sub(at)) do
    local length = message_length(data, at)
    if at + length - 1 > #data then
      return
    end
    table.insert(result, { at = at - 1, length = length })
    at = at + length
  end
end

-- First pass: takes a segment into its stream and returns what it completed.
local function take_segment(key, receiver, offset, data, pinfo)
  local result = { time = pinfo.rel_ts }
  local stream = state.streams[key]
  if not stream or (offset == 0 and stream.receiver ~= receiver) then
    if offset ~= 0 and not is_plausible_start(data) then
      return result
    end
    local limit = offset == 0 and FIRST_LIMIT or nil
    stream = { next = offset, buffer = "", frames = {}, pending = {}, waiting = {}, limit = limit }
    state.streams[key] = stream
  end
  stream.receiver = receiver
  result.is_over_credit = stream.limit ~= nil and offset + #data > stream.limit
  local have = stream.next + #stream.buffer
  if offset + #data <= have and #data > 0 then
    result.event = "retransmission"
    guess_messages(data, result)
    return result
  end
  table.insert(stream.waiting, { frame = pinfo.number, up_to = offset + #data })
  if offset > have then
    result.event = "gap"
    stream.pending[offset] = { bytes = data, frame = pinfo.number }
    return result
  end
  stream.buffer = stream.buffer .. data:sub(have - offset + 1)
  local frames = { pinfo.number }
  local moved = true
  while moved do
    moved = false
    have = stream.next + #stream.buffer
    for at, part in pairs(stream.pending) do
      if at <= have then
        stream.pending[at] = nil
        stream.buffer = stream.buffer .. part.bytes:sub(have - at + 1)
        table.insert(frames, part.frame)
        moved = true
        break
      end
    end
  end
  for _, frame in ipairs(frames) do
    table.insert(stream.frames, frame)
  end
  local length = #stream.buffer
  if not cut_messages(stream, offset, data, result, pinfo.number) then
    state.streams[key] = nil
  elseif #stream.buffer > 0 and #stream.buffer < length then
    -- What is left belongs to the frames that were taken last.
    stream.frames = frames
  end
  return result
end

local function segment(c, root, pinfo, header)
  local tree = c:item(root, f.segment)
  local stream = c:u8(tree, f.segment_stream)
  c:reserved(tree, 3)
  local wide = c:u64(tree, f.segment_offset)
  local offset = wide:tonumber()
  local data_at, data_length = c.at, c:left()
  local data = c:rest(tree, f.segment_bytes)
  pinfo.cols.info:append(string.format(" %s bytes %s+%d", STREAMS[stream] or stream, tostring(wide), data_length))
  if not STREAMS[stream] then
    return drop(tree, "malformed")
  end
  if not pinfo.visited and not header.is_cut then
    local key = there(pinfo) .. " " .. stream
    state.segments[pinfo.number] = take_segment(key, header.receiver, offset, data and data:raw() or "", pinfo)
  end
  local result = state.segments[pinfo.number] or {}
  if result.event then
    tree:add_proto_expert_info(e[result.event])
  end
  if result.is_over_credit then
    drop(tree, "over-credit")
  end
  if result.acked_in then
    tree:add(f.acked_in, result.acked_in):set_generated()
    tree:add(f.time, seconds(result.took)):set_generated()
  end
  local whole_in = state.reassembled_in[pinfo.number]
  if whole_in and whole_in ~= pinfo.number then
    tree:add(f.reassembled_in, whole_in):set_generated()
  end
  for place, found in ipairs(result) do
    local part
    if found.bytes then
      local whole = ByteArray.new(found.bytes, true):tvb("Message")
      part = cursor(whole, 0, whole:len())
    else
      part = cursor(c.tvb, data_at + found.at, data_at + found.at + found.length)
    end
    local is_new = result.event ~= "retransmission"
    pinfo.cols.info:append((place == 1 and ": " or "; ") .. message(part, root, pinfo, is_new and place))
  end
  if result.event then
    pinfo.cols.info:append(" [" .. result.event .. "]")
  end
end

-- First pass: what the ACK of a stream acknowledges that was not before.
local function take_ack(stream, cumulative, limit, pinfo)
  stream.limit = math.max(stream.limit or 0, limit)
  local waiting, newest = {}, nil
  for _, sent in ipairs(stream.waiting) do
    if sent.up_to <= cumulative then
      local result = state.segments[sent.frame]
      if result then
        result.acked_in, result.took = pinfo.number, pinfo.rel_ts - result.time
        newest = sent.frame
      end
    else
      table.insert(waiting, sent)
    end
  end
  stream.waiting = waiting
  return newest
end

local function ack(c, root, pinfo, header)
  local tree = c:item(root, f.ack)
  local stream = c:u8(tree, f.ack_stream)
  local count = c:u8(tree, f.ack_count)
  c:reserved(tree, 2)
  local cumulative = c:u64(tree, f.ack_cumulative)
  local limit = c:u64(tree, f.ack_limit)
  local text = string.format(" %s ack %s limit %s", STREAMS[stream] or stream, tostring(cumulative), tostring(limit))
  for _ = 1, count do
    local item = c:item(tree, f.ack_range, 16)
    local from, to = c:u64(item, f.ack_start), c:u64(item, f.ack_end)
    text = text .. string.format(" %s..%s", tostring(from), tostring(to))
  end
  pinfo.cols.info:append(text)
  if not pinfo.visited and not header.is_cut then
    local acked = state.streams[back(pinfo) .. " " .. stream]
    state.acks[pinfo.number] = acked and take_ack(acked, cumulative:tonumber(), limit:tonumber(), pinfo)
  end
  local acked = state.acks[pinfo.number]
  if acked then
    tree:add(f.acks, acked):set_generated()
  end
end

-- Parcels.

local ethernet = Dissector.get("eth_withoutfcs")
local inside = false -- whether an inner frame is being dissected

local function offload_header(c, tree)
  local item = c:item(tree, f.offload, OFFLOAD_LEN)
  local header = {
    flags = c:u8(item, f.offload_flags),
    gso_type = c:u8(item, f.offload_gso_type),
    header_length = c:u16(item, f.offload_header_length),
    gso_size = c:u16(item, f.offload_gso_size),
    checksum_start = c:u16(item, f.offload_checksum_start),
    checksum_offset = c:u16(item, f.offload_checksum_offset),
  }
  item:append_text(", segmentation " .. (GSO_TYPES[header.gso_type % GSO_ECN] or "unknown"))
  return header
end

-- Whether a receiver hands the frame of `length` bytes behind it on.
local function is_sound(header, length)
  local needs_checksum = is_set(header.flags, OFFLOAD_NEEDS_CHECKSUM)
  if header.header_length > length
    or needs_checksum and header.checksum_start + header.checksum_offset + 2 > length then
    return false
  end
  local gso = GSO_TYPES[header.gso_type % GSO_ECN]
  if gso == "none" then
    return true
  end
  local offset = gso == "udp" and 6 or 16
  return gso ~= nil and header.gso_size ~= 0 and header.gso_size ~= GSO_BY_FRAGS
    and not (needs_checksum and header.checksum_offset ~= offset)
end

-- The inner packet takes the columns over; what the link says comes back before its summary.
local function inner_frame(range, pinfo, root)
  local outer = tostring(pinfo.cols.info)
  inside = true
  pcall(ethernet.call, ethernet, range:tvb(), pinfo, root)
  inside = false
  pinfo.cols.info:prepend(outer .. " | ")
  pinfo.cols.protocol:prepend("L2LINK/")
end

local function parcel(c, tree, pinfo, root)
  if c:left() < OFFLOAD_LEN + ETHERNET_LEN then
    if c:left() >= OFFLOAD_LEN then
      offload_header(c, tree)
    end
    return drop(tree, "malformed")
  end
  local header = offload_header(c, tree)
  if not is_sound(header, c:left()) then
    drop(tree, "bad-offload")
  end
  inner_frame(c:take(c:left()), pinfo, root)
end

local function data(c, tree, pinfo, _, root)
  local parcels, text = {}, ""
  repeat
    local head = c:item(tree, f.parcel)
    local tunnel = c:u32(head, f.data_tunnel)
    local length = c:u16(head, f.data_length)
    text = text .. string.format("%s tunnel %d parcel of %d bytes", #parcels > 0 and "," or "", tunnel, length)
    head:set_len(math.min(6 + length, 6 + c:left()))
    head:append_text(string.format(", tunnel %d, %d bytes", tunnel, length))
    table.insert(parcels, { c:sub(length), head })
  until c:left() == 0
  pinfo.cols.info:append(text)
  for _, part in ipairs(parcels) do
    parcel(part[1], part[2], pinfo, root)
  end
end

-- Bytes of the Ethernet frame that a cursor begins with, as the IP packet in it says.
local function frame_length(c)
  local ahead = cursor(c.tvb, c.at, c.to)
  ahead:take(ETHERNET_LEN - 2)
  local ethertype = ahead:take(2):uint()
  if ethertype == ETHERTYPE_IPV4 then
    local ip = ahead:take(IPV4_LEN)
    local total_length = ip:range(2, 2):uint()
    if ip:bitfield(0, 4) == 4 and total_length >= IPV4_LEN then
      return ETHERNET_LEN + total_length
    end
  elseif ethertype == ETHERTYPE_IPV6 then
    local ip = ahead:take(IPV6_LEN)
    local payload_length = ip:range(4, 2):uint()
    if ip:bitfield(0, 4) == 6 and payload_length > 0 then
      return ETHERNET_LEN + IPV6_LEN + payload_length
    end
  end
  error(TRUNCATED, 0)
end

local function packet(c, top, pinfo, header, root)
  local tree = c:item(top, f.parcel)
  local tunnel = c:u32(tree, f.packet_tunnel)
  if header.length ~= 0 then
    error(TRUNCATED, 0)
  end
  local length = frame_length(c)
  local frame = c:take(length)
  tree:set_len(4 + length)
  tree:append_text(string.format(", tunnel %d, %d bytes", tunnel, length))
  c:rest(top, f.padding)
  pinfo.cols.info:append(string.format(" tunnel %d packet of %d bytes", tunnel, length))
  inner_frame(frame, pinfo, root)
end

-- First pass: takes a piece into its parcel and returns the parcel if that is whole now.
local function take_piece(key, tunnel, offset, bytes, is_last, pinfo)
  local known = state.parcels[key] or { pieces = {}, frames = {}, tunnel = tunnel }
  local to = offset + #bytes
  local is_bad = #bytes == 0 or to > PARCEL_MAX or known.tunnel ~= tunnel
    or known.size ~= nil and (to > known.size or is_last and to ~= known.size)
  for at, other in pairs(known.pieces) do
    is_bad = is_bad or offset < at + #other and at < to or is_last and at + #other > to
  end
  if is_bad then
    state.bad_pieces[pinfo.number] = true
    return nil
  end
  state.parcels[key] = known
  known.pieces[offset] = bytes
  known.size = is_last and to or known.size
  table.insert(known.frames, pinfo.number)
  local parts, at = {}, 0
  while known.pieces[at] do
    table.insert(parts, known.pieces[at])
    at = at + #known.pieces[at]
  end
  if at ~= known.size then
    return nil
  end
  state.parcels[key] = nil
  for _, frame in ipairs(known.frames) do
    state.reassembled_in[frame] = pinfo.number
  end
  return table.concat(parts)
end

local function piece(c, top, pinfo, header, root)
  local tree = c:item(top, f.piece)
  local tunnel = c:u32(tree, f.piece_tunnel)
  local number = c:u32(tree, f.piece_number)
  local last_offset = c:take(4)
  tree:add(f.piece_last, last_offset)
  tree:add(f.piece_offset, last_offset)
  local is_last = last_offset:bitfield(0, 1) == 1
  local offset = last_offset:bitfield(1, 31)
  local length = c:left()
  local bytes = c:rest(tree, f.piece_bytes)
  pinfo.cols.info:append(string.format(
    " tunnel %d parcel %d bytes %d+%d%s", tunnel, number, offset, length, is_last and ", the last" or ""))
  if not pinfo.visited and not header.is_cut then
    local key = string.format("%s %d %d", there(pinfo), header.receiver, number)
    local raw = bytes and bytes:raw() or ""
    state.completed_parcels[pinfo.number] = take_piece(key, tunnel, offset, raw, is_last, pinfo)
  end
  local whole, whole_in = state.completed_parcels[pinfo.number], state.reassembled_in[pinfo.number]
  if state.bad_pieces[pinfo.number] then
    drop(tree, "bad-piece")
    pinfo.cols.info:append(" [bad-piece]")
  elseif whole_in and whole_in ~= pinfo.number then
    tree:add(f.reassembled_in, whole_in):set_generated()
  elseif not whole_in and pinfo.visited then
    tree:add_proto_expert_info(e["incomplete-parcel"])
  end
  if whole then
    local tvb = ByteArray.new(whole, true):tvb("Parcel")
    local part = cursor(tvb, 0, tvb:len())
    parcel(part, part:item(top, f.parcel), pinfo, root)
  end
end

-- The other kinds.

-- A hello; returns its line.
local function hello_body(c, tree)
  local role = c:u8(tree, f.hello_role)
  local mode = c:u8(tree, f.hello_mode)
  local data_protection = c:u8(tree, f.hello_data)
  local control_protection = c:u8(tree, f.hello_control)
  local boot = c:hex(tree, f.hello_boot, 8)
  if tlvs(c, tree) or not ROLES[role] or not c.values.name then
    error(TRUNCATED, 0)
  end
  local function protection(value)
    return PROTECTIONS[value] or "protection " .. value
  end
  return string.format(
    "%s %s boot %s mode %s control %s data %s",
    ROLES[role], c.values.name, boot, MODES[mode] or "mode " .. mode, protection(control_protection),
    protection(data_protection))
end

-- First pass: whether another device said a mode or a protection that cannot be this one's.
local function is_mismatch(values, pinfo)
  local result = false
  for source, other in pairs(state.hellos) do
    result = result or source ~= tostring(pinfo.dl_src) and other.hello_role ~= values.hello_role
      and (other.hello_mode ~= values.hello_mode or other.hello_data ~= values.hello_data
        or other.hello_control ~= values.hello_control)
  end
  state.hellos[tostring(pinfo.dl_src)] = values
  return result
end

local function hello(c, root, pinfo)
  local tree = c:item(root, f.hello)
  pinfo.cols.info:append(" " .. hello_body(c, tree))
  if not pinfo.visited then
    state.mismatches[pinfo.number] = is_mismatch(c.values, pinfo)
  end
  if state.mismatches[pinfo.number] then
    drop(tree, "mode-mismatch")
  end
end

-- Whether the bytes are a hello: without security it stands where the Noise message would.
local function is_hello(bytes)
  if #bytes < 12 or not ROLES[bytes:byte(1)] then
    return false
  end
  local at, has_name = 13, false
  while at <= #bytes do
    if at + 3 > #bytes then
      return false
    end
    local kind, length = u16_of(bytes, at), u16_of(bytes, at + 2)
    if kind >= TLV_MANDATORY or kind == TLV_NAME and (length == 0 or length > LINK_NAME_MAX) then
      return false
    end
    has_name = has_name or kind == TLV_NAME
    at = at + 4 + length
  end
  return has_name and at == #bytes + 1
end

local function handshake(c, root, pinfo, header)
  local tree = c:item(root, f.handshake)
  local sender = c:u32(tree, f.handshake_sender)
  local association = c:hex(tree, f.handshake_association, 8)
  local length = c:left()
  pinfo.cols.info:append(string.format(
    " sender 0x%08x association %s noise of %d bytes", sender, association, length))
  if not pinfo.visited then
    local key, exchange = "handshake " .. back(pinfo) .. " " .. header.receiver, nil
    if header.receiver == 0 then
      key = "handshake " .. there(pinfo) .. " " .. sender
      exchange = state.pending[key] or request(pinfo)
      state.pending[key] = exchange
    elseif state.pending[key] then
      exchange = answer(state.pending[key], pinfo)
    end
    state.exchanges[pinfo.number] = { exchange }
  end
  show_exchange((state.exchanges[pinfo.number] or {})[1] or {}, tree, pinfo, true)
  if length > 0 and not header.gated and is_hello(c.tvb:range(c.at, length):raw()) then
    hello_body(c, c:item(tree, f.hello))
  else
    c:rest(tree, f.handshake_noise)
  end
end

local function keepalive(c, root, pinfo)
  local tree = c:item(root, f.keepalive)
  local sent = c:u64(tree, f.keepalive_sent)
  local echo = c:u64(tree, f.keepalive_echo)
  local held = c:u32(tree, f.keepalive_held)
  local interval = c:u32(tree, f.keepalive_interval)
  if tlvs(c, tree) then
    error(TRUNCATED, 0)
  end
  local text = string.format(
    " sent %s us, echo %s us held %d us, interval %d us", tostring(sent), tostring(echo), held, interval)
  if c.values.digest_sum then
    text = text .. fill_in(", routes up to {request}: {digest_count} routes {digest_sum}", c.values)
  end
  pinfo.cols.info:append(text)
  if not pinfo.visited then
    local mine, other = request(pinfo), state.keepalives[back(pinfo)]
    if other and other.sent == tostring(echo) then
      local answered = answer(other, pinfo)
      mine.response_to, mine.took = answered.response_to, answered.took
    end
    mine.sent = tostring(sent)
    state.keepalives[there(pinfo)] = mine
    state.exchanges[pinfo.number] = { mine }
  end
  show_exchange((state.exchanges[pinfo.number] or {})[1] or {}, tree, pinfo, false)
end

local function close(c, root, pinfo)
  local tree = c:item(root, f.close)
  local reason = c:u16(tree, f.close_reason)
  c:reserved(tree, 2)
  pinfo.cols.info:append(" " .. (CLOSE_TEXTS[reason] or "reason " .. reason))
  if CLOSE_REASONS[reason] == "NAME_IN_USE" then
    tree:add_proto_expert_info(e["name-in-use"])
  end
end

local BODIES = {
  HELLO = hello,
  HANDSHAKE_INIT = handshake,
  HANDSHAKE_RESPONSE = handshake,
  KEEPALIVE = keepalive,
  SEGMENT = segment,
  ACK = ack,
  CLOSE = close,
  DATA = data,
  PIECE = piece,
  PACKET = packet,
}

-- The frame.

local REPLAY_WINDOW = 1024

-- First pass: whether a sealed frame's counter has been seen, or is too old to tell.
local function is_replayed(header, pinfo)
  local counter = header.counter
  local key = tostring(pinfo.dl_dst) .. " " .. header.receiver .. (header.bulk and " bulk" or "")
  local window = state.counters[key] or { newest = 0, seen = {} }
  state.counters[key] = window
  if counter <= window.newest - REPLAY_WINDOW or window.seen[counter % REPLAY_WINDOW] == counter then
    return true
  end
  window.seen[counter % REPLAY_WINDOW] = counter
  window.newest = math.max(window.newest, counter)
  return false
end

-- First pass: what a receiver drops before it looks at the body. Kinds from 0x20 on belong to sessions, from 0x40 on they
-- are data.
local function check_session(header, pinfo)
  if header.kind < 0x20 or header.kind >= 0x60 then
    return
  end
  local said = state.hellos[tostring(pinfo.dl_src)]
  if said then
    local protection = header.kind >= 0x40 and said.hello_data or said.hello_control
    state.unsealed[pinfo.number] = PROTECTIONS[protection] ~= nil
      and (header.sealed ~= (protection ~= 0) or header.encrypted ~= (protection == 2)
        or header.kind == KIND_PACKET and protection ~= 0)
  end
  if header.sealed and not header.is_cut and header.kind ~= KIND_PACKET then
    state.replayed[pinfo.number] = is_replayed(header, pinfo)
  end
end

local function frame(c, tree, pinfo, root, header)
  local first = c:take(1)
  local version = first:bitfield(0, 4)
  tree:add(f.version, first)
  local item = tree:add(f.flags, first)
  item:add(f.sealed, first)
  item:add(f.encrypted, first)
  item:add(f.gated, first)
  item:add(f.bulk, first)
  header.sealed = first:bitfield(7, 1) == 1
  header.encrypted = first:bitfield(6, 1) == 1
  header.gated = first:bitfield(5, 1) == 1
  header.bulk = first:bitfield(4, 1) == 1
  if version ~= VERSION then
    drop(tree, "version")
    pinfo.cols.info = "version " .. version .. " [version]"
    return
  end
  local kind = c:u8(tree, f.kind)
  local name = KINDS[kind]
  header.kind = kind
  pinfo.cols.info = name or string.format("kind 0x%02x", kind)
  local length = c:u16(tree, f.length)
  header.length = length
  header.receiver = c:u32(tree, f.receiver)
  header.counter = c:u64(tree, f.counter):tonumber()

  -- The tag and the padding first: a body that breaks its definition does not hide them. A packet says in its body where it
  -- ends, and has no tag.
  local body = cursor(c.tvb, c.at, kind == KIND_PACKET and c.to or math.min(c.at + length, c.to))
  header.is_cut = kind ~= KIND_PACKET and c:left() < length
  c.at = body.to
  if kind ~= KIND_PACKET and (header.sealed or header.gated) then
    header.is_cut = header.is_cut or c:left() < TAG_LEN
    c:add(tree, f.tag, math.min(TAG_LEN, c:left()))
  end
  c:rest(tree, f.padding)

  if not pinfo.visited then
    check_session(header, pinfo)
  end
  if tostring(pinfo.dl_src) == tostring(pinfo.dl_dst) then
    drop(tree, "own-frame")
  elseif state.unsealed[pinfo.number] then
    drop(tree, "not-sealed")
  elseif state.replayed[pinfo.number] then
    drop(tree, "replayed")
  elseif not name then
    drop(tree, "unknown-kind")
  end
  if header.encrypted then
    pinfo.cols.info:append(string.format(" encrypted, %d bytes", length))
    tree:add_proto_expert_info(e.encrypted)
    body:rest(tree, f.ciphertext)
  elseif name then
    BODIES[name](body, tree, pinfo, header, root)
  else
    body:rest(tree, f.body)
    pinfo.cols.info:append(" [unknown-kind]")
  end
  if header.is_cut then
    error(TRUNCATED, 0)
  end
end

function l2link.dissector(tvb, pinfo, root)
  if inside then
    return 0
  end
  pinfo.cols.protocol = "L2LINK"
  pinfo.cols.info = "truncated"
  state.last = math.max(state.last, pinfo.rel_ts)
  local tree = root:add(l2link, tvb())
  local header = { is_cut = true }
  local done, problem = pcall(frame, cursor(tvb, 0, tvb:captured_len()), tree, pinfo, root, header)
  if not done then
    if problem ~= TRUNCATED then
      error(problem, 0)
    end
    if tvb:captured_len() < tvb:reported_len() then
      tree:add_proto_expert_info(e.cut)
    else
      local reason = header.is_cut and "truncated" or "malformed"
      drop(tree, reason)
      pinfo.cols.info:append(" [" .. reason .. "]")
    end
  end
  return tvb:captured_len()
end

function l2link.init()
  forget()
  inside = false
end

local ethertypes = DissectorTable.get("ethertype")
local registered = DEFAULT_ETHERTYPE
ethertypes:add(registered, l2link)

function l2link.prefs_changed()
  ethertypes:remove(registered, l2link)
  registered = l2link.prefs.ethertype
  ethertypes:add(registered, l2link)
end

-- Statistics, on request by a script argument.

local shown = {
  source = Field.new("eth.src"),
  destination = Field.new("eth.dst"),
  kind = Field.new("l2link.kind"),
  message = Field.new("l2link.message.type"),
  drop = Field.new("l2link.drop"),
}

local function count(list, key, bytes)
  local row = list[key] or { frames = 0, bytes = 0 }
  list[key] = row
  row.frames, row.bytes = row.frames + 1, row.bytes + bytes
end

local function sorted(list)
  local keys = {}
  for key in pairs(list) do
    table.insert(keys, key)
  end
  table.sort(keys)
  local next_key = 0
  return function()
    next_key = next_key + 1
    return keys[next_key], list[keys[next_key]]
  end
end

local function statistics()
  local kinds, pairs_of_peers, messages, drops, times, retransmissions
  local tap = Listener.new("frame", "l2link")

  local function reset()
    kinds, pairs_of_peers, messages, drops, times, retransmissions = {}, {}, {}, {}, {}, 0
  end
  reset()
  tap.reset = reset

  function tap.packet(pinfo)
    local kind = shown.kind()
    local name = kind and (KINDS[kind.value] or string.format("kind 0x%02x", kind.value)) or "unreadable"
    count(kinds, name, pinfo.len)
    -- The first ones: packets inside have theirs.
    local source, destination = shown.source(), shown.destination()
    count(pairs_of_peers, string.format("%s > %s", tostring(source), tostring(destination)), pinfo.len)
    for _, field in ipairs({ shown.message() }) do
      count(messages, MESSAGES[field.value] or string.format("message 0x%04x", field.value), 0)
    end
    for _, field in ipairs({ shown.drop() }) do
      count(drops, field.value, 0)
    end
    local part = state.segments[pinfo.number]
    retransmissions = retransmissions + (part and part.event == "retransmission" and 1 or 0)
    local types = { shown.message() }
    for place, exchange in pairs(state.exchanges[pinfo.number] or {}) do
      local asked = types[place] and MESSAGES[types[place].value] or name
      if exchange.took then
        local row = times[asked] or { answered = 0, least = math.huge, sum = 0, most = 0 }
        times[asked] = row
        row.answered, row.sum = row.answered + 1, row.sum + exchange.took
        row.least, row.most = math.min(row.least, exchange.took), math.max(row.most, exchange.took)
      end
    end
  end

  function tap.draw()
    print(string.rep("=", 80))
    print("Link protocol of l2relay and l2control")
    print(string.format("\n%-44s %12s %12s", "Kind", "Frames", "Bytes"))
    for name, row in sorted(kinds) do
      print(string.format("%-44s %12d %12d", name, row.frames, row.bytes))
    end
    print(string.format("\n%-44s %12s %12s", "From > to", "Frames", "Bytes"))
    for name, row in sorted(pairs_of_peers) do
      print(string.format("%-44s %12d %12d", name, row.frames, row.bytes))
    end
    print(string.format("\n%-44s %12s", "Message", "Count"))
    for name, row in sorted(messages) do
      print(string.format("%-44s %12d", name, row.frames))
    end
    print(string.format("\n%-32s %11s %11s %11s %11s", "Response, after ms", "Count", "Least", "Mean", "Most"))
    for name, row in sorted(times) do
      print(string.format(
        "%-32s %11d %11.3f %11.3f %11.3f",
        name, row.answered, row.least * 1000, row.sum / row.answered * 1000, row.most * 1000))
    end
    print(string.format("\n%-44s %12s", "Drop reason", "Count"))
    for name, row in sorted(drops) do
      print(string.format("%-44s %12d", name, row.frames))
    end
    print(string.format("\n%-44s %12d", "Segments sent again", retransmissions))
    print(string.rep("=", 80))
  end
end

function L2LINK_ARGUMENTS(...)
  for _, argument in ipairs({ ... }) do
    if argument == "statistics" then
      statistics()
    end
  end
end

L2LINK_ARGUMENTS(...)
