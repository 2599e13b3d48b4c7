// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The fast path: packets of known flows from a port or a symbol to the link, and link frames of known tunnels back, without
// the daemon.
//
// Theory of operation
//
// Nothing is decided here. The daemon's core decides about the first packet of a flow or tunnel and stores that in a map; what is
// not there, or was stored before the tables changed (`generation`) or too long ago (`until`), goes the daemon's way.
//
//   port or symbol --tc--> from_port / from_symbol: find flow, push headers --redirect--> link interface
//   link interface --XDP--> strip: find tunnel, pull headers --metadata, tc--> deliver --redirect--> port or symbol
//
// A packet can be redirected within its network namespace only, so a *crossing* leads to a symbol in another one: a pair of veth
// interfaces, `near` here and `far` there. Symbols elsewhere, and far ends, have numbers of the daemon's choice, from CROSSING
// on, so that a number says which symbol it is wherever it is met.
//
//   symbol --tc--> from_symbol: is there a way? tag --redirect--> far, near --tc--> from_crossing: untag, push headers ...
//                                                    or, if there is none any more: --redirect--> into_namespace --> symbol
//   ... deliver --redirect--> near, far --metadata, tc--> into_namespace --redirect--> symbol
//
// The tag is a VLAN's, whose number is the symbol's less CROSSING. Nothing else crosses.
//
// A packet socket sees a port's packets before tc does, so `port_filter` refuses what from_port is going to take.
//
// The headers do not tell the length of what follows (PROTOCOL.md, PACKET), so the kernel may cut a super-packet
// behind them. Checksums that are still to be completed are completed by the kernel as well, as the link interface does not
// do that: the daemon has made sure.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FLOWS_MAX 262144
#define TUNNELS_MAX 262144
#define PEERS_MAX 512
#define ADDRESSES_MAX 65536
#define STATIONS_MAX 4096

// Ethernet header, link header, tunnel: frames/PROTOCOL.md.
#define LINK_HEADERS 34
#define KIND_PACKET 0x42
#define VERSION_1_CLEAR 0x10

// lib.rs
#define CROSSING 1000000

// include/linux/if_packet.h
#define PACKET_HOST 0
// include/linux/if_vlan.h
#define VLAN_VID_MASK 0xfff

struct address {
	__be32 words[4]; // IPv4 in the last one
};

// A packet's flow, as the packet has it.
struct flow_key {
	__u32 ifindex; // where the packet is met
	__u8 protocol;
	__u8 version; // of IP
	__u16 zero;
	__be16 source_port;
	__be16 destination_port;
	struct address source;
	struct address destination;
};

struct flow {
	__u64 until; // of CLOCK_MONOTONIC, ns
	__u32 generation;
	__u32 peer; // index in `peers`; beyond its end if the flow is the daemon's
	__be32 tunnel;
	__u32 zero;
};

// How frames to a peer begin, and by which interface they leave.
struct peer {
	__u32 ifindex;
	__u32 frame_max; // bytes of a link frame
	__u8 headers[LINK_HEADERS]; // the tunnel left out
	__u8 zero[6];
};

struct tunnel_key {
	__be32 receiver; // this device's session
	__be32 tunnel;
};

struct tunnel {
	__u64 until; // of CLOCK_MONOTONIC, ns
	__u32 generation;
	__u32 ifindex;
	__u32 frame_max; // bytes of an Ethernet frame
	__u32 peer; // whose session it is
	__u8 own[ETH_ALEN]; // frames to this address are the daemon's
	__u8 to_symbol; // whether it is received there, or sent
	__u8 zero;
	__u32 near; // end of the crossing to the interface, or 0 if it is here
	__u32 zero_too;
};

struct count_key {
	__u32 peer;
	__be32 tunnel; // there, or here for what was received
	__u32 received; // 1 for what came from the link
};

struct count {
	__u64 packets;
	__u64 frames; // of the link
	__u64 bytes; // of Ethernet frames
	__u64 link_bytes; // of link frames
};

struct state {
	__u32 generation; // 0: all goes the daemon's way
	__be16 ethertype;
	__u16 zero;
};

struct station_key {
	__u32 ifindex;
	__u8 mac[ETH_ALEN];
	__u8 zero[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOWS_MAX);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TUNNELS_MAX);
	__type(key, struct tunnel_key);
	__type(value, struct tunnel);
} tunnels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PEERS_MAX);
	__type(key, __u32);
	__type(value, struct peer);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2 * TUNNELS_MAX);
	__type(key, struct count_key);
	__type(value, struct count);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct state);
} states SEC(".maps");

// Of the relay; IPv4 addresses are mapped.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, ADDRESSES_MAX);
	__type(key, struct address);
	__type(value, __u8);
} addresses SEC(".maps");

#define STATION_OWN 1
#define STATION_JOINED 2

// Unicast Ethernet addresses of ports.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STATIONS_MAX);
	__type(key, struct station_key);
	__type(value, __u8);
} stations SEC(".maps");

static __always_inline const struct state *current_state(void)
{
	const __u32 first = 0;
	return bpf_map_lookup_elem(&states, &first);
}

#define READ(skb, at, to) (bpf_skb_load_bytes(skb, at, to, sizeof(*(to))) == 0)

static __always_inline int read_transport(struct __sk_buff *skb, __u32 at, __u8 protocol, struct flow_key *key, __u32 *headers)
{
	key->protocol = protocol;
	if (protocol == IPPROTO_TCP) {
		struct tcphdr tcp;
		if (!READ(skb, at, &tcp) || tcp.syn || tcp.rst || tcp.doff < 5)
			return 0;
		key->source_port = tcp.source;
		key->destination_port = tcp.dest;
		*headers += tcp.doff * 4;
		return 1;
	}
	if (protocol == IPPROTO_UDP) {
		struct udphdr udp;
		if (!READ(skb, at, &udp))
			return 0;
		key->source_port = udp.source;
		key->destination_port = udp.dest;
		*headers += sizeof(udp);
		return 1;
	}
	return 0;
}

// Reads a packet from its Ethernet header on. Returns whether it is of a kind that the fast path takes: TCP or UDP, without options,
// whole, no fragment, and neither the beginning nor the sudden end of a connection. `headers`: bytes of IP's and the transport's.
static __always_inline int read_flow(struct __sk_buff *skb, const struct ethhdr *ethernet, struct flow_key *key, __u32 *headers)
{
	__u32 room = skb->len - ETH_HLEN;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;
		if (!READ(skb, ETH_HLEN, &ip) || ip.version != 4 || ip.ihl != 5)
			return 0;
		if ((ip.frag_off & bpf_htons(0x3fff)) || bpf_ntohs(ip.tot_len) > room)
			return 0;
		key->version = 4;
		key->source.words[3] = ip.saddr;
		key->destination.words[3] = ip.daddr;
		*headers = sizeof(ip);
		return read_transport(skb, ETH_HLEN + sizeof(ip), ip.protocol, key, headers);
	}
	if (ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		if (!READ(skb, ETH_HLEN, &ip) || ip.version != 6)
			return 0;
		if (ip.payload_len == 0 || sizeof(ip) + bpf_ntohs(ip.payload_len) > room)
			return 0;
		key->version = 6;
		__builtin_memcpy(&key->source, &ip.saddr, sizeof(key->source));
		__builtin_memcpy(&key->destination, &ip.daddr, sizeof(key->destination));
		*headers = sizeof(ip);
		return read_transport(skb, ETH_HLEN + sizeof(ip), ip.nexthdr, key, headers);
	}
	return 0;
}

// The way of a packet to the link, if it is known and the packet fits a link frame.
static __always_inline const struct flow *find_flow(struct __sk_buff *skb, __u32 ifindex, const struct ethhdr *ethernet,
						    const struct state *state, const struct peer **peer, __u32 *headers)
{
	struct flow_key key = { .ifindex = ifindex };
	if (skb->vlan_present || (ethernet->h_dest[0] & 1) || !read_flow(skb, ethernet, &key, headers))
		return NULL;
	const struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || flow->generation != state->generation || bpf_ktime_get_coarse_ns() > flow->until)
		return NULL;
	__u32 index = flow->peer;
	*peer = bpf_map_lookup_elem(&peers, &index);
	if (!*peer || !(*peer)->ifindex)
		return NULL;
	*headers += ETH_HLEN;
	__u32 frame = skb->gso_size ? *headers + skb->gso_size : skb->len;
	return LINK_HEADERS + frame <= (*peer)->frame_max ? flow : NULL;
}

static __always_inline void count(const struct count_key *key, const struct count *more)
{
	struct count *count = bpf_map_lookup_elem(&counts, key);
	if (!count) {
		if (bpf_map_update_elem(&counts, key, more, BPF_NOEXIST) == 0)
			return;
		count = bpf_map_lookup_elem(&counts, key);
		if (!count)
			return;
	}
	__sync_fetch_and_add(&count->packets, more->packets);
	__sync_fetch_and_add(&count->frames, more->frames);
	__sync_fetch_and_add(&count->bytes, more->bytes);
	__sync_fetch_and_add(&count->link_bytes, more->link_bytes);
}

// The way to the link of a packet that was met at an interface. `before`: bytes before the payload.
static __always_inline const struct flow *find_way(struct __sk_buff *skb, __u32 met_at, const struct peer **peer, __u32 *before)
{
	const struct state *state = current_state();
	struct ethhdr ethernet;
	if (!state || !state->generation || !READ(skb, 0, &ethernet))
		return NULL;
	return find_flow(skb, met_at, &ethernet, state, peer, before);
}

// Sends a packet that was met at an interface to the link, if there is a way.
static __always_inline int to_link(struct __sk_buff *skb, __u32 met_at)
{
	const struct peer *peer;
	__u32 before = 0;
	const struct flow *flow = find_way(skb, met_at, &peer, &before);
	if (!flow)
		return TC_ACT_UNSPEC;
	__u32 frames = skb->gso_segs ? skb->gso_segs : 1;
	const struct count more = {
		.packets = 1,
		.frames = frames,
		.bytes = skb->len,
		.link_bytes = skb->len + (frames - 1) * before + frames * LINK_HEADERS,
	};
	const struct count_key key = { .peer = flow->peer, .tunnel = flow->tunnel };
	__be32 tunnel = flow->tunnel;
	__u32 ifindex = peer->ifindex;
	if (bpf_skb_change_head(skb, LINK_HEADERS, 0))
		return TC_ACT_UNSPEC;
	__u8 headers[LINK_HEADERS];
	__builtin_memcpy(headers, peer->headers, LINK_HEADERS);
	__builtin_memcpy(headers + LINK_HEADERS - sizeof(tunnel), &tunnel, sizeof(tunnel));
	if (bpf_skb_store_bytes(skb, 0, headers, LINK_HEADERS, 0))
		return TC_ACT_SHOT;
	count(&key, &more);
	return bpf_redirect(ifindex, 0);
}

SEC("tc")
int from_port(struct __sk_buff *skb)
{
	return skb->pkt_type == PACKET_HOST ? to_link(skb, skb->ifindex) : TC_ACT_UNSPEC;
}

SEC("tc")
int from_symbol(struct __sk_buff *skb)
{
	__u32 symbol = skb->ifindex;
	if (symbol <= CROSSING)
		return to_link(skb, symbol);
	const struct peer *peer;
	__u32 before = 0;
	if (!find_way(skb, symbol, &peer, &before))
		return TC_ACT_UNSPEC;
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), symbol - CROSSING))
		return TC_ACT_UNSPEC;
	return bpf_redirect(CROSSING, 0);
}

SEC("tc")
int from_crossing(struct __sk_buff *skb)
{
	__u32 number = skb->vlan_tci & VLAN_VID_MASK;
	if (!skb->vlan_present || bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	int action = to_link(skb, CROSSING + number);
	if (action != TC_ACT_UNSPEC)
		return action;
	// from_symbol has seen a way that is not there any more.
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), number))
		return TC_ACT_SHOT;
	return bpf_redirect_peer(skb->ifindex, 0);
}

// What a packet socket at a port gets: what `CaptureFilter` describes, without what from_port takes.
SEC("socket")
int port_filter(struct __sk_buff *skb)
{
	const int take = -1, refuse = 0;
	const struct state *state = current_state();
	struct ethhdr ethernet;
	if (!state || !READ(skb, 0, &ethernet) || (skb->vlan_tci & 0xfff))
		return refuse;
	if (ethernet.h_proto == state->ethertype)
		return refuse;
	if (ethernet.h_dest[0] & 1)
		return take;
	struct station_key station = { .ifindex = skb->ifindex };
	__builtin_memcpy(station.mac, ethernet.h_dest, ETH_ALEN);
	const __u8 *is = bpf_map_lookup_elem(&stations, &station);
	if (!is)
		return refuse;
	if (*is == STATION_JOINED)
		return take;
	struct address destination = {};
	if (ethernet.h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;
		if (!READ(skb, ETH_HLEN, &ip))
			return refuse;
		if (bpf_ntohl(ip.daddr) >= 0xe0000000)
			return take;
		destination.words[2] = bpf_htonl(0xffff);
		destination.words[3] = ip.daddr;
		if (!bpf_map_lookup_elem(&addresses, &destination)) {
			// From a DHCP server to a client that has no address yet.
			struct udphdr udp;
			int later = ip.frag_off & bpf_htons(0x1fff);
			return ip.protocol == IPPROTO_UDP && !later && READ(skb, ETH_HLEN + ip.ihl * 4, &udp) &&
					       udp.dest == bpf_htons(68) ?
				       take :
				       refuse;
		}
	} else if (ethernet.h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		if (!READ(skb, ETH_HLEN, &ip))
			return refuse;
		if (ip.daddr.s6_addr[0] == 0xff)
			return take;
		__builtin_memcpy(&destination, &ip.daddr, sizeof(destination));
		if (!bpf_map_lookup_elem(&addresses, &destination))
			return refuse;
	} else {
		return take;
	}
	const struct peer *peer;
	__u32 before = 0;
	if (state->generation && skb->pkt_type == PACKET_HOST && find_flow(skb, skb->ifindex, &ethernet, state, &peer, &before))
		return refuse;
	return take;
}

// What strip tells deliver and into_namespace, before the frame.
struct destination {
	__u32 ifindex;
	__u32 to_symbol;
	__u32 near; // end of the crossing to the interface, or 0
};

// A link frame with a packet.
struct link_frame {
	struct ethhdr ethernet;
	__u8 version_and_flags;
	__u8 kind;
	__be16 length;
	__be32 receiver;
	__be64 counter;
	__be32 tunnel;
	struct ethhdr inner;
} __attribute__((packed));

// Whether the packet opens a connection, and whether it is whole.
static __always_inline int check_inner(void *data, void *end, const struct link_frame *frame, __u32 room, int *opens)
{
	void *network = data + sizeof(*frame);
	__u8 protocol;
	void *transport;
	if (frame->inner.h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = network;
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5 || bpf_ntohs(ip->tot_len) > room)
			return 0;
		protocol = ip->ihl == 5 ? ip->protocol : 0;
		transport = ip + 1;
	} else if (frame->inner.h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = network;
		if ((void *)(ip + 1) > end || ip->version != 6 || !ip->payload_len ||
		    sizeof(*ip) + bpf_ntohs(ip->payload_len) > room)
			return 0;
		protocol = ip->nexthdr;
		transport = ip + 1;
	} else {
		return 0;
	}
	if (protocol == IPPROTO_UDP)
		return 1;
	struct tcphdr *tcp = transport;
	if (protocol != IPPROTO_TCP || (void *)(tcp + 1) > end)
		return 0;
	*opens = tcp->syn;
	return 1;
}

static __always_inline int same_station(const __u8 *one, const __u8 *other)
{
	for (int i = 0; i < ETH_ALEN; i++)
		if (one[i] != other[i])
			return 0;
	return 1;
}

SEC("xdp.frags")
int strip(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	const struct link_frame *frame = data;
	const struct state *state = current_state();
	if ((void *)(frame + 1) > end || !state || !state->generation || frame->ethernet.h_proto != state->ethertype)
		return XDP_PASS;
	if (frame->version_and_flags != VERSION_1_CLEAR || frame->kind != KIND_PACKET || frame->length)
		return XDP_PASS;
	struct tunnel_key key = { .receiver = frame->receiver, .tunnel = frame->tunnel };
	const struct tunnel *tunnel = bpf_map_lookup_elem(&tunnels, &key);
	if (!tunnel || tunnel->generation != state->generation || bpf_ktime_get_coarse_ns() > tunnel->until)
		return XDP_PASS;
	__u32 length = bpf_xdp_get_buff_len(xdp);
	__u32 inner = length - LINK_HEADERS;
	int opens = 0;
	if (!check_inner(data, end, frame, inner - ETH_HLEN, &opens) || (opens && tunnel->to_symbol))
		return XDP_PASS;
	if (inner > tunnel->frame_max || same_station(frame->inner.h_dest, tunnel->own))
		return XDP_PASS;
	const struct destination to = { .ifindex = tunnel->ifindex, .to_symbol = tunnel->to_symbol, .near = tunnel->near };
	const struct count_key counted = { .peer = tunnel->peer, .tunnel = key.tunnel, .received = 1 };
	if (bpf_xdp_adjust_head(xdp, LINK_HEADERS))
		return XDP_PASS;
	if (bpf_xdp_adjust_meta(xdp, -(int)sizeof(to)))
		return XDP_ABORTED;
	struct destination *meta = (void *)(long)xdp->data_meta;
	if ((void *)(meta + 1) > (void *)(long)xdp->data)
		return XDP_ABORTED;
	*meta = to;
	const struct count more = { .packets = 1, .frames = 1, .bytes = inner, .link_bytes = length };
	count(&counted, &more);
	return XDP_PASS;
}

SEC("tc")
int deliver(struct __sk_buff *skb)
{
	const struct destination *to = (void *)(long)skb->data_meta;
	if ((void *)(to + 1) > (void *)(long)skb->data)
		return TC_ACT_UNSPEC;
	if (to->near)
		return bpf_redirect_peer(to->near, 0);
	return bpf_redirect(to->ifindex, to->to_symbol ? BPF_F_INGRESS : 0);
}

SEC("tc")
int into_namespace(struct __sk_buff *skb)
{
	if (skb->vlan_present) {
		// Back from from_crossing: it leaves the symbol once more, for the daemon.
		__u32 number = skb->vlan_tci & VLAN_VID_MASK;
		return bpf_skb_vlan_pop(skb) ? TC_ACT_SHOT : bpf_redirect(CROSSING + number, 0);
	}
	const struct destination *to = (void *)(long)skb->data_meta;
	if ((void *)(to + 1) > (void *)(long)skb->data)
		return TC_ACT_SHOT;
	return bpf_redirect(to->ifindex, BPF_F_INGRESS);
}

const char LICENSE[] SEC("license") = "MIT";
