// SPDX-License-Identifier: BSD-2-Clause
/* SOL_FIB: the FIB of one socket, set and read without the capability that SO_MARK needs. */
#include "socket.h"

#define PAGE_BYTES 4096

/* A level of others. The kernel hands us at most a page of a longer value and takes an unchanged
 * length for an error; 0 means "use the caller's value". */
static __always_inline int not_ours(struct bpf_sockopt *context)
{
	if (context->optlen > PAGE_BYTES)
		context->optlen = 0;
	return 1;
}

static __always_inline bool has_fib(const struct bpf_sock *sk)
{
	return sk->family == AF_INET || sk->family == AF_INET6;
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

SEC("cgroup/setsockopt")
int fib_setsockopt(struct bpf_sockopt *context)
{
	struct bpf_sock *sk = context->sk;
	int *value = context->optval;
	__u32 fib;

	if (context->level != SOL_FIB || !sk || !has_fib(sk))
		return not_ours(context);
	if (context->optlen < (int)sizeof(*value) || (void *)(value + 1) > context->optval_end)
		return refuse(EINVAL);
	switch (context->optname) {
	case SO_SETFIB:
		if (*value < 0 || *value > FIB_MAX)
			return refuse(EINVAL);
		fib = (__u32)*value;
		break;
	case SO_FIB_ANY:
		if (*value != 1)
			return refuse(EINVAL);
		fib = 0;
		break;
	default:
		return not_ours(context); /* ENOPROTOOPT by the kernel */
	}
	if (fib != sk->mark) {
		if (is_bound(sk))
			return refuse(EISCONN);
		if (bpf_setsockopt(sk, SOL_SOCKET, SO_MARK, &fib, sizeof(fib)))
			return refuse(EINVAL);
	}
	context->optlen = -1; /* done: the kernel need not look at it */
	return 1;
}

SEC("cgroup/getsockopt")
int fib_getsockopt(struct bpf_sockopt *context)
{
	const struct fib_config *config = fib_settings();
	struct bpf_sock *sk = context->sk;
	struct fib_address address;
	int *value = context->optval;
	__u32 fib;

	if (context->level != SOL_FIB || context->optname != SO_FIB || !sk || !has_fib(sk))
		return not_ours(context);
	if (!config || context->optlen < (int)sizeof(*value) ||
	    (void *)(value + 1) > context->optval_end)
		return refuse(EINVAL);
	fib = sk->mark;
	if (!fib) {
		local_address(sk, &address);
		fib_of_own(config, &address, &fib);
	}
	*value = (int)fib;
	context->optlen = (__s32)opaque(sizeof(*value)); /* else one 8-byte store with retval */
	context->retval = 0;
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
