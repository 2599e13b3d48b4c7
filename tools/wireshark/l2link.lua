-- Wireshark dissector for the link protocol between l2relay and l2control (frames/PROTOCOL.md).
--
--   wireshark -X lua_script:l2link.lua capture.pcap
--   tshark    -X lua_script:l2link.lua -2 -r capture.pcap -Y 'l2link.message.type == 0x0020'
--
-- The EtherType is a preference: -o l2link.ethertype:34997 is the default, 0x88b5.
--
-- Theory of operation. Every read goes through a Cursor that knows where its bytes end; reading beyond raises TRUNCATED,
-- which is caught once per frame and shown as an expert item, so no capture makes Lua fail. Streams (SEGMENT) and
-- parcels (PIECE) are put together in the first pass over the capture, in order of frames, and what a frame completed
-- is kept under its number for later passes, which may come in any order. A stream whose beginning is not in the capture
-- is followed from the first segment that begins with a plausible message. Frames that the capture has cut short are
-- shown as far as they go, and left out of streams and parcels.

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
}

local TLVS = {
  [0x0001] = "NAME",
  [0x0002] = "ADDRESSES",
  [0x0003] = "TEXT",
  [0x0004] = "ROUTES_DIGEST",
  [0x0008] = "PORT_ROUTES",
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

local STATUS_OK = 0
local CLASS_ETHERTYPE = 4
local GROUP_ETHERNET = 2
local DIGEST_PARTS = 16
local FLAG_SEALED, FLAG_ENCRYPTED, FLAG_GATED = 0x1, 0x2, 0x4

-- Fields, by the names of the bit pictures.

local f = {
  version = ProtoField.uint8("l2link.version", "Version", base.DEC, nil, 0xf0),
  flags = ProtoField.uint8("l2link.flags", "Flags", base.HEX, nil, 0x0f),
  sealed = ProtoField.bool("l2link.flags.sealed", "Sealed", 8, nil, FLAG_SEALED),
  encrypted = ProtoField.bool("l2link.flags.encrypted", "Encrypted", 8, nil, FLAG_ENCRYPTED),
  gated = ProtoField.bool("l2link.flags.gated", "Gated", 8, nil, FLAG_GATED),
  kind = ProtoField.uint8("l2link.kind", "Kind", base.HEX, KINDS),
  length = ProtoField.uint16("l2link.length", "Length", base.DEC),
  receiver = ProtoField.uint32("l2link.receiver", "Receiver's session index", base.HEX),
  counter = ProtoField.uint64("l2link.counter", "Counter", base.DEC),
  body = ProtoField.bytes("l2link.body", "Body"),
  ciphertext = ProtoField.bytes("l2link.ciphertext", "Encrypted body"),
  tag = ProtoField.bytes("l2link.tag", "Tag"),
  padding = ProtoField.bytes("l2link.padding", "Padding"),
  reserved = ProtoField.bytes("l2link.reserved", "Reserved"),

  tlv = ProtoField.none("l2link.tlv", "TLV"),
  tlv_type = ProtoField.uint16("l2link.tlv.type", "Type", base.HEX, TLVS),
  tlv_length = ProtoField.uint16("l2link.tlv.length", "Length", base.DEC),
  tlv_value = ProtoField.bytes("l2link.tlv.value", "Value"),
  name = ProtoField.string("l2link.name", "Name", base.UNICODE),
  text = ProtoField.string("l2link.text", "Text", base.UNICODE),
  address = ProtoField.ipv6("l2link.address", "Address"),
  prefix_length = ProtoField.uint8("l2link.prefix_length", "Prefix length", base.DEC),

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

  port_route_destination = ProtoField.ipv6("l2link.port_route.destination", "Destination"),
  port_route_gateway = ProtoField.ipv6("l2link.port_route.gateway", "Gateway"),
  port_route_length = ProtoField.uint8("l2link.port_route.prefix_length", "Prefix length", base.DEC),
  port_route_flags = ProtoField.uint8("l2link.port_route.flags", "Flags", base.HEX),
  port_route_onlink = ProtoField.bool("l2link.port_route.onlink", "On link", 8, nil, 0x1),

  attributes_generation = ProtoField.uint32("l2link.attributes.generation", "Generation", base.DEC),
  attributes_flags = ProtoField.uint32("l2link.attributes.flags", "Flags", base.HEX),
  attributes_present = ProtoField.bool("l2link.attributes.flags.present", "Present", 32, nil, 0x1),
  attributes_up = ProtoField.bool("l2link.attributes.flags.up", "Up", 32, nil, 0x2),
  attributes_carrier = ProtoField.bool("l2link.attributes.flags.carrier", "Carrier", 32, nil, 0x4),
  attributes_mtu = ProtoField.uint32("l2link.attributes.mtu", "MTU", base.DEC),
  attributes_speed = ProtoField.uint32("l2link.attributes.speed", "Speed (Mb/s)", base.DEC),
  attributes_mac = ProtoField.ether("l2link.attributes.mac", "MAC"),

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
  flows_flags = ProtoField.uint16("l2link.flows.flags", "Flags", base.HEX),
  flows_last = ProtoField.bool("l2link.flows.last", "Last", 16, nil, 0x1),
  flows_count = ProtoField.uint16("l2link.flows.count", "Flows", base.DEC),
  flow = ProtoField.bytes("l2link.flow", "Flow"),
  flow_local_port = ProtoField.uint16("l2link.flow.local_port", "Local port", base.DEC),
  flow_remote_port = ProtoField.uint16("l2link.flow.remote_port", "Remote port", base.DEC),
  flow_local = ProtoField.ipv6("l2link.flow.local", "Local address"),
  flow_remote = ProtoField.ipv6("l2link.flow.remote", "Remote address"),
  route_count = ProtoField.uint16("l2link.route.count", "Nexthops", base.DEC),
  nexthop = ProtoField.none("l2link.nexthop", "Nexthop"),
  nexthop_flags = ProtoField.uint8("l2link.nexthop.flags", "Flags", base.HEX),
  nexthop_onlink = ProtoField.bool("l2link.nexthop.onlink", "On link", 8, nil, 0x1),
  nexthop_family = ProtoField.uint8("l2link.nexthop.family", "Family", base.DEC, ROUTE_FAMILIES),
  nexthop_gateway = ProtoField.ipv6("l2link.nexthop.gateway", "Gateway"),
  slice_prefix = ProtoField.uint32("l2link.slice.prefix", "First bits of the hash", base.HEX),
  slice_bits = ProtoField.uint8("l2link.slice.bits", "Bits", base.DEC),
  digest_count = ProtoField.uint32("l2link.digest.count", "Routes", base.DEC),
  digest_sum = ProtoField.uint64("l2link.digest.sum", "Sum", base.HEX),
}
l2link.fields = f

local e = {
  truncated = ProtoExpert.new(
    "l2link.truncated", "The bytes end too early", expert.group.MALFORMED, expert.severity.ERROR),
  version = ProtoExpert.new(
    "l2link.version.unknown", "Unknown protocol version", expert.group.PROTOCOL, expert.severity.WARN),
  retransmission = ProtoExpert.new(
    "l2link.segment.retransmission", "Bytes seen before", expert.group.SEQUENCE, expert.severity.NOTE),
  gap = ProtoExpert.new(
    "l2link.segment.gap", "Bytes before these are missing so far", expert.group.SEQUENCE, expert.severity.NOTE),
}
l2link.experts = e

l2link.prefs.ethertype = Pref.uint("EtherType (decimal)", DEFAULT_ETHERTYPE, "EtherType of the protocol")

-- Reading.

local TRUNCATED = {}

-- Bytes `from` up to and without `to` of a tvb, read from front to back into a tree.
local Cursor = {}
Cursor.__index = Cursor

local function cursor(tvb, from, to)
  return setmetatable({ tvb = tvb, at = from, to = to }, Cursor)
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
  return cursor(self.tvb, self.at - length, self.at)
end

-- Adds the next bytes to the tree and returns their range.
function Cursor:add(tree, field, length)
  local range = self:take(length)
  if range then
    tree:add(field, range)
  end
  return range
end

function Cursor:u8(tree, field)
  return self:add(tree, field, 1):uint()
end

function Cursor:u16(tree, field)
  return self:add(tree, field, 2):uint()
end

function Cursor:u32(tree, field)
  return self:add(tree, field, 4):uint()
end

-- As a Lua number: exact up to 2^53.
function Cursor:u64(tree, field)
  return self:add(tree, field, 8):uint64():tonumber()
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
end

-- Adds all that is left.
function Cursor:rest(tree, field)
  return self:add(tree, field, self:left())
end

-- TLVs.

local function port_address(c, tree)
  c:add(tree, f.address, 16)
  c:u8(tree, f.prefix_length)
  local flags = c:take(1)
  tree:add(f.address_flags, flags):add(f.address_given, flags)
  c:reserved(tree, 2)
end

local function addresses(c, tree)
  while c:left() > 0 do
    port_address(c, tree)
  end
end

local function port_route(c, tree)
  c:add(tree, f.port_route_destination, 16)
  c:add(tree, f.port_route_gateway, 16)
  c:u8(tree, f.port_route_length)
  local flags = c:take(1)
  tree:add(f.port_route_flags, flags):add(f.port_route_onlink, flags)
  c:reserved(tree, 2)
end

local function digest(c, tree)
  c:u32(tree, f.digest_count)
  c:add(tree, f.digest_sum, 8)
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
  [0x0008] = function(c, tree)
    while c:left() > 0 do
      port_route(c, tree)
    end
  end,
}

local function tlvs(c, tree)
  while c:left() > 0 do
    local item = tree:add(f.tlv, c.tvb:range(c.at, c:left()))
    local kind = c:u16(item, f.tlv_type)
    local length = c:u16(item, f.tlv_length)
    item:set_text("TLV " .. (TLVS[kind] or string.format("0x%04x", kind)))
    item:set_len(math.min(4 + length, c:left() + 4))
    local value = c:sub(length)
    local dissect = TLV_VALUES[kind]
    if dissect then
      dissect(value, item)
    else
      value:rest(item, f.tlv_value)
    end
  end
end

-- Messages: each function gets the cursor at the end of the message's header.

local function attributes(c, tree)
  c:u32(tree, f.attributes_generation)
  local flags = c:take(4)
  local item = tree:add(f.attributes_flags, flags)
  item:add(f.attributes_present, flags)
  item:add(f.attributes_up, flags)
  item:add(f.attributes_carrier, flags)
  c:u32(tree, f.attributes_mtu)
  c:u32(tree, f.attributes_speed)
  c:add(tree, f.attributes_mac, 6)
  c:reserved(tree, 2)
end

local function flow(c, tree)
  local item = tree:add(f.flow, c.tvb:range(c.at, math.min(36, c:left())))
  c:u16(item, f.flow_local_port)
  c:u16(item, f.flow_remote_port)
  c:add(item, f.flow_local, 16)
  c:add(item, f.flow_remote, 16)
end

local function protocol_address(c, tree)
  local class = c:u8(tree, f.address_class)
  c:u8(tree, f.address_family)
  c:u16(tree, class == CLASS_ETHERTYPE and f.address_ethertype or f.address_protocol)
  c:u16(tree, f.address_local_port)
  c:u16(tree, f.address_remote_port)
  c:add(tree, f.address_local, 16)
  c:add(tree, f.address_remote, 16)
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
  c:add(tree, f.virtual_address, 16)
  c:add(tree, f.control_address, 16)
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
    c:add(tree, f.membership_mac, 6)
    c:reserved(tree, 10)
  else
    c:add(tree, f.membership_group, 16)
  end
end

local function route_key(c, tree)
  c:u8(tree, f.route_family)
  c:u8(tree, f.route_prefix_length)
  c:reserved(tree, 2)
  c:u32(tree, f.route_table)
  c:u32(tree, f.route_metric)
  c:add(tree, f.route_prefix, 16)
end

local function nexthop(c, tree)
  local item = tree:add(f.nexthop, c.tvb:range(c.at, math.min(24, c:left())))
  c:u32(item, f.port)
  c:u16(item, f.weight)
  local flags = c:take(1)
  item:add(f.nexthop_flags, flags):add(f.nexthop_onlink, flags)
  c:u8(item, f.nexthop_family)
  c:add(item, f.nexthop_gateway, 16)
end

local function slice(c, tree)
  c:u32(tree, f.request)
  c:u32(tree, f.slice_prefix)
  c:u8(tree, f.slice_bits)
  c:reserved(tree, 3)
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
    local count = c:u16(tree, f.route_count)
    for _ = 1, count do
      if c:left() == 0 then
        error(TRUNCATED, 0)
      end
      nexthop(c, tree)
    end
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
    for _ = 1, DIGEST_PARTS do
      digest(c, tree)
    end
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
    local flags = c:take(2)
    tree:add(f.flows_flags, flags):add(f.flows_last, flags)
    local count = c:u16(tree, f.flows_count)
    for _ = 1, count do
      if c:left() == 0 then
        error(TRUNCATED, 0)
      end
      flow(c, tree)
    end
  end,
}

-- One whole message; returns its name.
local function message(c, tree)
  local item = tree:add(f.message, c.tvb:range(c.at, c:left()))
  local kind = c:u16(item, f.message_type)
  c:reserved(item, 2)
  c:u32(item, f.message_length)
  local name = MESSAGES[kind]
  item:set_text(name or string.format("Message 0x%04x", kind))
  if name then
    MESSAGE_BODIES[name](c, item)
    tlvs(c, item)
  else
    c:rest(item, f.message_body)
  end
  return name or string.format("message 0x%04x", kind)
end

-- Streams.

local streams = {} -- [key] = { receiver, next, buffer, pending }
local completed_messages = {} -- [frame number] = { event = …, { at = …, length = … } or { bytes = … }, … }

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
local function cut_messages(stream, offset, data, result)
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
    end
    stream.buffer = stream.buffer:sub(length + 1)
    stream.next = stream.next + length
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
local function take_segment(key, receiver, offset, data)
  local result = {}
  local stream = streams[key]
  if not stream or (offset == 0 and stream.receiver ~= receiver) then
    if offset ~= 0 and not is_plausible_start(data) then
      return result
    end
    stream = { next = offset, buffer = "", pending = {} }
    streams[key] = stream
  end
  stream.receiver = receiver
  local have = stream.next + #stream.buffer
  if offset + #data <= have and #data > 0 then
    result.event = "retransmission"
    guess_messages(data, result)
    return result
  end
  if offset > have then
    result.event = "gap"
    stream.pending[offset] = data
    return result
  end
  stream.buffer = stream.buffer .. data:sub(have - offset + 1)
  local moved = true
  while moved do
    moved = false
    have = stream.next + #stream.buffer
    for at, bytes in pairs(stream.pending) do
      if at <= have then
        stream.pending[at] = nil
        stream.buffer = stream.buffer .. bytes:sub(have - at + 1)
        moved = true
        break
      end
    end
  end
  if not cut_messages(stream, offset, data, result) then
    streams[key] = nil
  end
  return result
end

local function segment(c, tree, pinfo, header)
  local stream = c:u8(tree, f.segment_stream)
  c:reserved(tree, 3)
  local offset = c:u64(tree, f.segment_offset)
  local data_at, data_length = c.at, c:left()
  local data = c:rest(tree, f.segment_bytes)
  local info = string.format("%s %.0f+%d", STREAMS[stream] or stream, offset, data_length)
  pinfo.cols.info:append(" " .. info)
  if not pinfo.visited and not header.is_cut then
    local key = string.format("%s %s %d", pinfo.dl_src, pinfo.dl_dst, stream)
    completed_messages[pinfo.number] = take_segment(key, header.receiver, offset, data and data:raw() or "")
  end
  local result = completed_messages[pinfo.number] or {}
  if result.event then
    tree:add_proto_expert_info(e[result.event])
  end
  for _, found in ipairs(result) do
    local part
    if found.bytes then
      local whole = ByteArray.new(found.bytes, true):tvb("Message")
      part = cursor(whole, 0, whole:len())
    else
      part = cursor(c.tvb, data_at + found.at, data_at + found.at + found.length)
    end
    pinfo.cols.info:append(" " .. message(part, tree))
  end
end

-- Parcels.

local ethernet = Dissector.get("eth_withoutfcs")
local parcels = {} -- [key] = { pieces = { [offset] = bytes }, size = … }
local completed_parcels = {} -- [frame number] = bytes
local inside = false -- whether an inner frame is being dissected

local function offload_header(c, tree)
  local item = tree:add(f.offload, c.tvb:range(c.at, math.min(OFFLOAD_LEN, c:left())))
  c:u8(item, f.offload_flags)
  local gso_type = c:u8(item, f.offload_gso_type)
  c:u16(item, f.offload_header_length)
  c:u16(item, f.offload_gso_size)
  c:u16(item, f.offload_checksum_start)
  c:u16(item, f.offload_checksum_offset)
  item:append_text(", segmentation " .. (GSO_TYPES[gso_type % 0x80] or "unknown"))
end

-- The inner packet takes the columns over; what the link says comes back before its summary.
local function parcel(c, tree, pinfo, root)
  if c:left() == 0 then
    return
  end
  offload_header(c, tree)
  local frame = c:take(c:left())
  if frame then
    local outer = tostring(pinfo.cols.info)
    inside = true
    pcall(ethernet.call, ethernet, frame:tvb(), pinfo, root)
    inside = false
    pinfo.cols.info:prepend(outer .. " | ")
    pinfo.cols.protocol:prepend("L2LINK/")
  end
end

local function data(c, tree, pinfo, header, root)
  repeat
    pinfo.cols.info:append(" tunnel " .. c:u32(tree, f.data_tunnel))
    local length = c:u16(tree, f.data_length)
    local part = c:sub(length)
    if length < OFFLOAD_LEN then
      tree:add_proto_expert_info(e.truncated)
    else
      parcel(part, tree, pinfo, root)
    end
  until c:left() == 0
end

-- First pass: takes a piece into its parcel and returns the parcel if that is whole now.
local function take_piece(key, offset, bytes, is_last)
  if offset + #bytes > PARCEL_MAX then
    return nil
  end
  local known = parcels[key] or { pieces = {} }
  parcels[key] = known
  known.pieces[offset] = bytes
  if is_last then
    known.size = offset + #bytes
  end
  local parts, at = {}, 0
  while known.pieces[at] and #known.pieces[at] > 0 do
    table.insert(parts, known.pieces[at])
    at = at + #known.pieces[at]
  end
  if at ~= known.size then
    return nil
  end
  parcels[key] = nil
  return table.concat(parts)
end

local function piece(c, tree, pinfo, header, root)
  local tunnel = c:u32(tree, f.piece_tunnel)
  local number = c:u32(tree, f.piece_number)
  local last_offset = c:take(4)
  tree:add(f.piece_last, last_offset)
  tree:add(f.piece_offset, last_offset)
  local is_last = last_offset:bitfield(0, 1) == 1
  local offset = last_offset:bitfield(1, 31)
  local length = c:left()
  local bytes = c:rest(tree, f.piece_bytes)
  local info = string.format(" tunnel %d parcel %d %d+%d%s", tunnel, number, offset, length, is_last and " last" or "")
  pinfo.cols.info:append(info)
  if not pinfo.visited and bytes and not header.is_cut then
    local key = string.format("%s %s %d %d", pinfo.dl_src, pinfo.dl_dst, header.receiver, number)
    completed_parcels[pinfo.number] = take_piece(key, offset, bytes:raw(), is_last)
  end
  local whole = completed_parcels[pinfo.number]
  if whole then
    local tvb = ByteArray.new(whole, true):tvb("Parcel")
    parcel(cursor(tvb, 0, tvb:len()), tree, pinfo, root)
  end
end

-- The other kinds.

local function hello(c, tree, pinfo)
  local role = c:u8(tree, f.hello_role)
  c:u8(tree, f.hello_mode)
  c:u8(tree, f.hello_data)
  c:u8(tree, f.hello_control)
  c:add(tree, f.hello_boot, 8)
  pinfo.cols.info:append(" " .. (ROLES[role] or role))
  tlvs(c, tree)
end

-- Without security, the payload stands where the Noise message would.
local function handshake(c, tree, pinfo, header)
  c:u32(tree, f.handshake_sender)
  c:add(tree, f.handshake_association, 8)
  if header.gated then
    c:rest(tree, f.handshake_noise)
  else
    hello(c, tree, pinfo)
  end
end

local function keepalive(c, tree)
  c:add(tree, f.keepalive_sent, 8)
  c:add(tree, f.keepalive_echo, 8)
  c:u32(tree, f.keepalive_held)
  c:u32(tree, f.keepalive_interval)
  tlvs(c, tree)
end

local function ack(c, tree, pinfo)
  local stream = c:u8(tree, f.ack_stream)
  local count = c:u8(tree, f.ack_count)
  c:reserved(tree, 2)
  local cumulative = c:u64(tree, f.ack_cumulative)
  local limit = c:u64(tree, f.ack_limit)
  pinfo.cols.info:append(string.format(" %s %.0f limit %.0f", STREAMS[stream] or stream, cumulative, limit))
  for _ = 1, count do
    c:add(tree, f.ack_start, 8)
    c:add(tree, f.ack_end, 8)
  end
end

local function close(c, tree, pinfo)
  local reason = c:u16(tree, f.close_reason)
  c:reserved(tree, 2)
  pinfo.cols.info:append(" " .. (CLOSE_REASONS[reason] or reason))
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
}

-- The frame.

local function frame(c, tree, pinfo, root)
  local first = c:take(1)
  local version, flags = first:bitfield(0, 4), first:bitfield(4, 4)
  tree:add(f.version, first)
  local item = tree:add(f.flags, first)
  item:add(f.sealed, first)
  item:add(f.encrypted, first)
  item:add(f.gated, first)
  local header = {
    encrypted = first:bitfield(6, 1) == 1,
    gated = first:bitfield(5, 1) == 1,
    tagged = first:bitfield(5, 1) == 1 or first:bitfield(7, 1) == 1,
  }
  if version ~= VERSION then
    tree:add_proto_expert_info(e.version)
    pinfo.cols.info = "version " .. version
    return
  end
  local kind = c:u8(tree, f.kind)
  local name = KINDS[kind]
  pinfo.cols.info = name or string.format("kind 0x%02x", kind)
  local length = c:u16(tree, f.length)
  header.receiver = c:u32(tree, f.receiver)
  c:add(tree, f.counter, 8)

  -- The tag and the padding first: a body that breaks its definition does not hide them.
  local body = cursor(c.tvb, c.at, math.min(c.at + length, c.to))
  header.is_cut = c:left() < length
  c.at = body.to
  if header.tagged then
    header.is_cut = header.is_cut or c:left() < TAG_LEN
    c:add(tree, f.tag, math.min(TAG_LEN, c:left()))
  end
  c:rest(tree, f.padding)

  if header.encrypted then
    pinfo.cols.info:append(string.format(" encrypted, %d bytes", length))
    body:rest(tree, f.ciphertext)
  elseif name then
    BODIES[name](body, tree, pinfo, header, root)
  else
    body:rest(tree, f.body)
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
  local tree = root:add(l2link, tvb())
  local done, problem = pcall(frame, cursor(tvb, 0, tvb:captured_len()), tree, pinfo, root)
  if not done then
    if problem ~= TRUNCATED then
      error(problem, 0)
    end
    tree:add_proto_expert_info(e.truncated)
  end
  return tvb:captured_len()
end

function l2link.init()
  streams, completed_messages = {}, {}
  parcels, completed_parcels = {}, {}
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
