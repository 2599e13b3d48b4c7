/*
 * Tells the control when a program opens or closes a socket that may want a rule.
 *
 * Theory of operation
 *
 * Nothing that is told here is the truth about sockets: that is a dump, and these programs say when to take one, and of which
 * namespace. What happened in a namespace since its last dump is a word of bits, one for each part of the sockets that is dumped by
 * itself. A program sets a bit, and rings the bell if it was not set: the daemon clears it before it dumps. So a
 * namespace in which 50,000 sockets a second come and go wakes the daemon once for each of its dumps, one that is not
 * watched never, and nothing can be lost by being too much.
 *
 * | program | when | tells of |
 * |---|---|---|
 * | created | a socket of IPv4 or IPv6 was made, and receives if it is a raw one | raw sockets |
 * | bound4, bound6 | it has a port, and is in the kernel's table | UDP, UDP-Lite |
 * | released | the last holder closed it; it leaves the kernel's table after this | raw sockets |
 * | state | before the first listen() enters the kernel's table, and after it left it | what listens: TCP, MPTCP, SCTP, DCCP |
 * | capable | the right to raw and packet sockets was asked for, and given, just before one is made | packet sockets |
 *
 * The close of a UDP socket is told by NETLINK_SOCK_DIAG, that of a packet socket by nobody. Where an event comes before what it
 * tells of, it is by less than the daemon needs to wake up; it looks again a little later in any case.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Of the kernel's structures what is read; the loader finds it in this kernel's. */
#define OF_THIS_KERNEL __attribute__((preserve_access_index))

struct net {
	__u64 net_cookie;
} OF_THIS_KERNEL;

typedef struct {
	struct net *net;
} OF_THIS_KERNEL possible_net_t;

struct sock_common {
	possible_net_t skc_net;
} OF_THIS_KERNEL;

struct sock {
	struct sock_common __sk_common;
} OF_THIS_KERNEL;

struct nsproxy {
	struct net *net_ns;
} OF_THIS_KERNEL;

struct task_struct {
	struct nsproxy *nsproxy;
} OF_THIS_KERNEL;

/* In step with kernel.rs. */
#define PLACES 4096
#define LISTENERS 1
#define OTHERS 2
/* What does not belong to a namespace stands in the first place: that the bell had no room. */
#define NO_PLACE 0

struct news {
	__u32 place;
	__u32 part;
};

/* The namespaces that are watched, by their cookies, and where their words are. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PLACES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} places SEC(".maps");

/* What happened in each since it was looked at. The daemon has these words in its memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} words SEC(".maps");

/* Each bit that was set. There are two for each namespace until the daemon has heard of them, and a few more that it cleared
   before. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} bell SEC(".maps");

static __always_inline void tell(__u64 cookie, __u32 part)
{
	__u32 *place = bpf_map_lookup_elem(&places, &cookie);

	if (!place)
		return;

	struct news news = { .place = *place, .part = part };
	__u64 *word = bpf_map_lookup_elem(&words, &news.place);

	if (!word || (__sync_fetch_and_or(word, part) & part))
		return;
	if (bpf_ringbuf_output(&bell, &news, sizeof(news), 0)) {
		__u32 none = NO_PLACE;

		word = bpf_map_lookup_elem(&words, &none);
		if (word)
			__sync_fetch_and_or(word, 1);
	}
}

/* linux/socket.h, linux/in.h, linux/capability.h, net/tcp_states.h */
#define SOCK_RAW 3
#define UDP 17
#define UDP_LITE 136
#define CAP_NET_RAW 13
#define SYN_RECV 3
#define LISTEN 10

/* What programs of cgroups say to the socket: go on. */
#define ALLOW 1

SEC("cgroup/sock_create")
int created(struct bpf_sock *sk)
{
	if (sk->type == SOCK_RAW)
		tell(bpf_get_netns_cookie(sk), OTHERS);
	return ALLOW;
}

SEC("cgroup/sock_release")
int released(struct bpf_sock *sk)
{
	if (sk->type == SOCK_RAW)
		tell(bpf_get_netns_cookie(sk), OTHERS);
	return ALLOW;
}

static __always_inline int bound(struct bpf_sock *sk)
{
	if (sk->protocol == UDP || sk->protocol == UDP_LITE)
		tell(bpf_get_netns_cookie(sk), OTHERS);
	return ALLOW;
}

SEC("cgroup/post_bind4")
int bound4(struct bpf_sock *sk)
{
	return bound(sk);
}

SEC("cgroup/post_bind6")
int bound6(struct bpf_sock *sk)
{
	return bound(sk);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state, struct sock *sk, int before, int after)
{
	/* A connection that a listener accepts begins as its copy, and is no news. */
	if (after == LISTEN || (before == LISTEN && after != SYN_RECV))
		tell(sk->__sk_common.skc_net.net->net_cookie, LISTENERS);
	return 0;
}

/* Linux 6.14. */
SEC("tp_btf/cap_capable")
int BPF_PROG(capable, void *credentials, void *of, void *in, int capability, int refused)
{
	struct task_struct *task;

	if (capability != CAP_NET_RAW || refused)
		return 0;
	task = (struct task_struct *)bpf_get_current_task_btf();
	tell(task->nsproxy->net_ns->net_cookie, OTHERS);
	return 0;
}

const char LICENSE[] SEC("license") = "Dual MIT/GPL";
