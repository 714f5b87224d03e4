/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the cgroup socket hooks share.
 */
#ifndef FIB_SOCKET_H
#define FIB_SOCKET_H

#include "maps.h"

/* End of a hook that fails the system call with `error`. */
static __always_inline int refuse(int error)
{
	bpf_set_retval(-error);
	return 0;
}

/* Put the FIB of the socket that context->sk belongs to in *fib; false: it cannot be given it. For MPTCP
 * that is not the same: its first subflow is made by the kernel when the socket is, before the socket
 * has a FIB, and what the user then sets reaches the socket alone. */
static __always_inline bool socket_fib(struct bpf_sock_addr *context, __u32 *fib)
{
	struct mptcp_sock *whole = bpf_skc_to_mptcp_sock(context->sk);

	*fib = context->sk->mark;
	if (!whole || whole->sk.icsk_inet.sk.sk_mark == *fib)
		return true;
	*fib = whole->sk.icsk_inet.sk.sk_mark;
	return !bpf_setsockopt(context, SOL_SOCKET, SO_MARK, fib, sizeof(*fib));
}

/* The verifier wants each field of a context or socket read by itself: without the barrier the
 * compiler computes a pointer into it, or merges two accesses. */
static __always_inline __u32 opaque(__u32 value)
{
	asm volatile("" : "+r"(value));
	return value;
}

static __always_inline bool is_mapped(const struct fib_address *address)
{
	return !address->words[0] && !address->words[1] && address->words[2] == bpf_htonl(0xffff);
}

static __always_inline bool is_any(const struct fib_address *address)
{
	return !address->words[0] && !address->words[1] && !address->words[3] &&
	       (!address->words[2] || address->words[2] == bpf_htonl(0xffff));
}

/* The user's address of a bind, connect or sendmsg hook. */
static __always_inline void user_ipv6(const struct bpf_sock_addr *context,
				      struct fib_address *address)
{
	address->words[0] = opaque(context->user_ip6[0]);
	address->words[1] = opaque(context->user_ip6[1]);
	address->words[2] = opaque(context->user_ip6[2]);
	address->words[3] = opaque(context->user_ip6[3]);
}

static __always_inline void local_address(const struct bpf_sock *sk, struct fib_address *address)
{
	__u32 ipv4 = opaque(sk->src_ip4);

	if (sk->family == AF_INET) {
		fib_map_ipv4(address, ipv4);
		return;
	}
	address->words[0] = opaque(sk->src_ip6[0]);
	address->words[1] = opaque(sk->src_ip6[1]);
	address->words[2] = opaque(sk->src_ip6[2]);
	address->words[3] = opaque(sk->src_ip6[3]);
}

/* A raw socket's "port" is its protocol: only an address tells whether it is bound. */
static __always_inline bool is_bound(const struct bpf_sock *sk)
{
	struct fib_address address;

	if (sk->type != SOCK_RAW && sk->src_port)
		return true;
	local_address(sk, &address);
	return address.words[3] || address.words[0] || address.words[1];
}

#endif
