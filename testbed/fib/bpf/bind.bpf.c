// SPDX-License-Identifier: BSD-2-Clause
/* bind.
 *
 * To an address (row 20): a socket without a FIB takes the address's, one of another FIB is refused
 * as if the address did not exist. Raw, ping and SCTP sockets do not pass the cgroup hooks: they are
 * refused at the LSM hook; unmarked they are routed by their source address.
 *
 * To any address (rows 16 to 18): a socket of FIB k is bound to the FIB's preferred address, so that
 * the kernel itself gives it that FIB's traffic and leaves the rest to a wildcard socket. The kernel
 * would take both for a conflict (P6) unless both have SO_REUSEPORT and one user: the hook sets it,
 * and keeps count of who holds a port, so that two sockets of one FIB still conflict as they should.
 */
#include "borrowed.h"
#include "held.h"
#include "home.h"
#include "socket.h"

/* Sockets bound to any address, by FIB and port.
 * Key: struct fib_listener, 8 bytes. Value: struct fib_holders, 8 bytes. Entries: 131,072.
 * Writers: fib_post_bind4/6, fib_release, fib_destroy. Readers: fib_bind4/6. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct fib_listener);
	__type(value, struct fib_holders);
	__uint(max_entries, 2 * FIB_MAP_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_listeners SEC(".maps");

/* Judge an address for a socket of FIB *fib and say its FIB; false: not available there. */
static __always_inline bool judge(const struct fib_address *address, __u32 *fib)
{
	const struct fib_config *config = fib_settings();
	__u32 address_fib = 0;

	if (!config)
		return false;
	if (!fib_of_own(config, address, &address_fib)) {
		if (fib_is_of_link(address))
			return true; /* groups: row 51 keeps them in FIB 0 */
		if (*fib && *fib == config->interface_fib)
			return true; /* added by hand: the kernel knows whether it is there */
	}
	if (*fib && *fib != address_fib)
		return false;
	*fib = address_fib;
	return true;
}

static __always_inline int bind_to_address(struct bpf_sock_addr *context, __u32 mark,
					   const struct fib_address *address)
{
	__u32 fib = mark;

	bpf_sk_storage_delete(&fib_held, context->sk); /* of a bind that failed before */
	if (!judge(address, &fib))
		return refuse(EADDRNOTAVAIL);
	if (fib != mark && !borrow(context, fib))
		return refuse(EADDRNOTAVAIL);
	return 1;
}

static __always_inline bool wants(struct bpf_sock_addr *context, int option)
{
	int value = 0;

	return !bpf_getsockopt(context, SOL_SOCKET, option, &value, sizeof(value)) && value;
}

/* As the kernel would judge sockets of one FIB: all want to share the port, or it is taken. (It
 * also lets TCP sockets with SO_REUSEADDR bind together and refuses the second listen; here the
 * second bind is.) UDP sockets share by SO_REUSEADDR as well. */
static __always_inline bool is_taken(const struct fib_listener *key, bool shares)
{
	const struct fib_holders *holders = bpf_map_lookup_elem(&fib_listeners, key);

	if (!holders)
		return false;
	return holders->count[FIB_ALONE] || (holders->count[FIB_SHARED] && !shares);
}

static __always_inline bool may_share(struct bpf_sock_addr *context)
{
	return wants(context, SO_REUSEPORT) ||
	       (context->type == SOCK_DGRAM && wants(context, SO_REUSEADDR));
}

/* Make room for sockets of other FIBs on this port; the FIB's own must be free. */
static __always_inline int share_port(struct bpf_sock_addr *context, __u32 fib, __u8 family)
{
	struct fib_listener key = {
		.fib = fib,
		.port = bpf_ntohs((__u16)context->user_port),
		.protocol = (__u8)context->protocol,
		.family = family,
	};
	struct held held = { .key = key, .kind = may_share(context) ? FIB_SHARED : FIB_ALONE };
	struct held *stored;
	int on = 1;

	bpf_sk_storage_delete(&fib_held, context->sk);
	/* The kernel will choose a port that is free: of TCP one that nobody has (inet_csk_find_open_port),
	 * of UDP also one of a socket with SO_REUSEPORT (udp_lib_lport_inuse): left as it is. */
	if (!key.port && key.protocol != IPPROTO_TCP)
		return 1;
	if (key.port && is_taken(&key, held.kind == FIB_SHARED))
		return refuse(EADDRINUSE);
	stored = bpf_sk_storage_get(&fib_held, context->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!stored)
		return refuse(ENOMEM);
	*stored = held;
	if (bpf_setsockopt(context, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)))
		return refuse(EADDRINUSE);
	return 1;
}

static __always_inline bool is_active(void)
{
	const struct fib_config *config = fib_settings();

	return config && (config->flags & FIB_ACTIVE);
}

SEC("cgroup/bind4")
int fib_bind4(struct bpf_sock_addr *context)
{
	const struct fib_state *state;
	struct fib_address address;
	__u32 fib;

	if (!context->sk || !context_is_home(context))
		return 1;
	if (!give_back(context, context->sk) || !socket_fib(context, &fib))
		return refuse(EADDRNOTAVAIL);
	fib_map_ipv4(&address, context->user_ip4);
	if (!is_any(&address))
		return bind_to_address(context, fib, &address);
	if (!is_active())
		return 1;
	if (fib) {
		state = bpf_map_lookup_elem(&fib_states, &fib);
		if (!state || !(state->flags & FIB_HAS_IPV4))
			return refuse(EADDRNOTAVAIL);
		context->user_ip4 = state->ipv4.words[3];
	}
	return share_port(context, fib, AF_INET);
}

/* Whether an IPv6 socket wants no IPv4; a TCP one, the only kind that can have both (see below). */
static __always_inline bool is_ipv6_only(struct bpf_sock_addr *context)
{
	struct tcp6_sock *sk = bpf_skc_to_tcp6_sock(context->sk);

	return !sk || BPF_CORE_READ_BITFIELD_PROBED((struct sock_common *)sk, skc_ipv6only);
}

/* The address that stands for "any" in a FIB. Bound to an IPv6 address a socket hears no IPv4
 * (inet6_bind), bound to a mapped IPv4 one it may hear both: lookup.bpf.c brings the rest. It cannot for
 * MPTCP: a socket of an upper layer protocol is taken into no map (sk_psock_init). */
static __always_inline const struct fib_address *choose(struct bpf_sock_addr *context,
							const struct fib_state *state)
{
	if (!(state->flags & FIB_HAS_IPV6))
		return &state->ipv4;
	if ((state->flags & FIB_HAS_IPV4) && !is_ipv6_only(context) &&
	    !bpf_skc_to_mptcp_sock(context->sk))
		return &state->ipv4;
	return &state->ipv6;
}

SEC("cgroup/bind6")
int fib_bind6(struct bpf_sock_addr *context)
{
	const struct fib_address *chosen;
	const struct fib_state *state;
	struct fib_address address;
	__u32 fib;

	if (!context->sk || !context_is_home(context))
		return 1;
	if (!give_back(context, context->sk) || !socket_fib(context, &fib))
		return refuse(EADDRNOTAVAIL);
	user_ipv6(context, &address);
	if (!is_any(&address))
		return bind_to_address(context, fib, &address);
	if (!is_active())
		return 1;
	if (fib) {
		state = bpf_map_lookup_elem(&fib_states, &fib);
		if (!state || !(state->flags & (FIB_HAS_IPV4 | FIB_HAS_IPV6)))
			return refuse(EADDRNOTAVAIL);
		chosen = choose(context, state);
		context->user_ip6[0] = opaque(chosen->words[0]);
		context->user_ip6[1] = opaque(chosen->words[1]);
		context->user_ip6[2] = opaque(chosen->words[2]);
		context->user_ip6[3] = opaque(chosen->words[3]);
	}
	return share_port(context, fib, AF_INET6);
}

static __always_inline void count(struct fib_holders *holders, __u32 kind, int change)
{
	__sync_fetch_and_add(&holders->count[kind & 1], change);
}

/* The bind has succeeded: from here on the port counts as held. */
static __always_inline int hold(struct bpf_sock *sk)
{
	struct held *held = bpf_sk_storage_get(&fib_held, sk, NULL, 0);
	struct fib_holders *holders, first = {};

	if (!held)
		return 1;
	if (!held->key.port)
		held->key.port = (__u16)sk->src_port;
	holders = bpf_map_lookup_elem(&fib_listeners, &held->key);
	if (!holders) {
		bpf_map_update_elem(&fib_listeners, &held->key, &first, BPF_NOEXIST);
		holders = bpf_map_lookup_elem(&fib_listeners, &held->key);
		if (!holders)
			return 0;
	}
	count(holders, held->kind, 1);
	held->is_counted = 1;
	return 1;
}

SEC("cgroup/post_bind4")
int fib_post_bind4(struct bpf_sock *sk)
{
	return hold(sk);
}

SEC("cgroup/post_bind6")
int fib_post_bind6(struct bpf_sock *sk)
{
	return hold(sk);
}

static __always_inline void let_go(struct held *held)
{
	struct fib_holders *holders;

	if (!held || !held->is_counted)
		return;
	held->is_counted = 0;
	holders = bpf_map_lookup_elem(&fib_listeners, &held->key);
	if (!holders)
		return;
	count(holders, held->kind, -1);
	/* A bind that comes in between loses its count, and so no more than a refusal. */
	if (!holders->count[FIB_ALONE] && !holders->count[FIB_SHARED])
		bpf_map_delete_elem(&fib_listeners, &held->key);
}

/* The last descriptor of the socket is closed. */
SEC("cgroup/sock_release")
int fib_release(struct bpf_sock *sk)
{
	let_go(bpf_sk_storage_get(&fib_held, sk, NULL, 0));
	return 1;
}

/* A subflow of MPTCP has no descriptor: that of its socket tells nothing of the port it holds. */
SEC("fentry/inet_csk_destroy_sock")
int BPF_PROG(fib_destroy, struct sock *sk)
{
	let_go(bpf_sk_storage_get(&fib_held, sk, NULL, 0));
	return 0;
}

/* Raw, ping and SCTP sockets have a bind of their own, which calls no cgroup hook (inet_bind). */
static __always_inline bool has_own_bind(const struct sock *sk)
{
	return sk->sk_type == SOCK_RAW || sk->sk_protocol == IPPROTO_SCTP ||
	       (sk->sk_type == SOCK_DGRAM && (sk->sk_protocol == IPPROTO_ICMP ||
					      sk->sk_protocol == IPPROTO_ICMPV6));
}

SEC("lsm/socket_bind")
int BPF_PROG(fib_bind_raw, struct socket *sock, void *sockaddr, int size)
{
	struct fib_address address;
	struct sock *sk = sock->sk;
	__be32 ipv4;
	__u16 family;
	__u32 fib;

	if (!sk || !has_own_bind(sk) || size < 8 ||
	    (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6) ||
	    bpf_probe_read_kernel(&family, sizeof(family), sockaddr))
		return 0;
	if (family == AF_INET && !bpf_probe_read_kernel(&ipv4, sizeof(ipv4), sockaddr + 4))
		fib_map_ipv4(&address, ipv4);
	else if (family != AF_INET6 || size < 24 ||
		 bpf_probe_read_kernel(&address, sizeof(address), sockaddr + 8))
		return 0;
	if (!sock_is_home(sk))
		return 0;
	if (sk->sk_protocol == IPPROTO_SCTP && is_any(&address))
		return is_active() ? -EADDRNOTAVAIL : 0; /* sctp.bpf.c */
	fib = sk->sk_mark;
	return judge(&address, &fib) ? 0 : -EADDRNOTAVAIL;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
