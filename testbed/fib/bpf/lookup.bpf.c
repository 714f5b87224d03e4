// SPDX-License-Identifier: BSD-2-Clause
/* TCP listeners of a FIB that has several addresses. bind.bpf.c binds a FIB's wildcard socket to the
 * FIB's preferred address; connections to its other addresses, and the other family's of a dual-stack
 * socket, are brought to it here, unless a socket listens on that very address.
 *
 * For UDP nothing tells a program of a bound socket in a place where it could be kept: a FIB's
 * wildcard UDP socket hears the preferred address alone.
 */
#include "borrowed.h"
#include "held.h"
#include "home.h"
#include "socket.h"

/* Sockets that share a port are a group, of which the kernel chooses one, whichever it is led to by. So many
 * are remembered: another one is there when the first is closed. */
#define GROUP_PLACES 4

/* Wildcard listeners of FIBs.
 * Key: struct fib_listener, 8 bytes, of which `protocol` is IPPROTO_TCP + the place in the group. Value: a TCP socket, which leaves when it is closed. Entries:
 * 65,536. Writer: fib_listen. Reader: fib_lookup. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__type(key, struct fib_listener);
	__type(value, __u64);
	__uint(max_entries, FIB_MAP_ENTRIES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_wildcards SEC(".maps");

struct exact {
	struct fib_address address;
	__u32 port; /* host byte order; above it, from bit 16, the place in the group */
};

/* Listeners bound to an address of a FIB.
 * Key: struct exact, 20 bytes. Value: a TCP socket. Entries: 65,536.
 * Writer: fib_listen. Reader: fib_lookup. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__type(key, struct exact);
	__type(value, __u64);
	__uint(max_entries, FIB_MAP_ENTRIES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_exact SEC(".maps");

/* Remember a wildcard listener: in a free place, else in that of any other one. */
static __always_inline void remember_wildcard(struct bpf_sock_ops *context, struct fib_listener key)
{
	for (int place = 0; place < GROUP_PLACES; place++) {
		key.protocol = IPPROTO_TCP + place;
		if (!bpf_sock_hash_update(context, &fib_wildcards, &key, BPF_NOEXIST))
			return;
	}
	key.protocol = IPPROTO_TCP + bpf_get_prandom_u32() % GROUP_PLACES;
	bpf_sock_hash_update(context, &fib_wildcards, &key, BPF_ANY);
}

static __always_inline void remember_exact(struct bpf_sock_ops *context, struct exact exact)
{
	__u32 port = exact.port;

	for (int place = 0; place < GROUP_PLACES; place++) {
		exact.port = port | place << 16;
		if (!bpf_sock_hash_update(context, &fib_exact, &exact, BPF_NOEXIST))
			return;
	}
	exact.port = port | bpf_get_prandom_u32() % GROUP_PLACES << 16;
	bpf_sock_hash_update(context, &fib_exact, &exact, BPF_ANY);
}

SEC("sockops")
int fib_listen(struct bpf_sock_ops *context)
{
	struct exact exact = {};
	struct bpf_sock *sk;
	struct held *held;

	if (context->op != BPF_SOCK_OPS_TCP_LISTEN_CB || !context_is_home(context))
		return 1;
	sk = context->sk;
	if (!sk || !give_back(context, sk) || !sk->mark)
		return 1;
	held = bpf_sk_storage_get(&fib_held, sk, NULL, 0);
	if (held && held->is_counted) {
		remember_wildcard(context, held->key);
		return 1;
	}
	exact.port = context->local_port;
	if (context->family == AF_INET) {
		fib_map_ipv4(&exact.address, opaque(context->local_ip4));
	} else {
		exact.address.words[0] = opaque(context->local_ip6[0]);
		exact.address.words[1] = opaque(context->local_ip6[1]);
		exact.address.words[2] = opaque(context->local_ip6[2]);
		exact.address.words[3] = opaque(context->local_ip6[3]);
	}
	remember_exact(context, exact);
	return 1;
}

/* Hand the packet to the FIB's wildcard listener of a family; whether there was one. */
static __always_inline bool bring(struct bpf_sk_lookup *context, struct fib_listener *key,
				  __u8 family)
{
	struct bpf_sock *sk;
	long error;

	key->family = family;
	for (int place = 0; place < GROUP_PLACES; place++) {
		key->protocol = IPPROTO_TCP + place;
		sk = bpf_map_lookup_elem(&fib_wildcards, key);
		if (!sk)
			continue;
		error = bpf_sk_assign(context, sk, 0); /* refused for an IPv6 socket that wants no IPv4 */
		bpf_sk_release(sk);
		if (!error)
			return true;
	}
	return false;
}

/* Whether somebody listens on that very address. */
static __always_inline bool has_exact(const struct fib_address *address, __u32 port)
{
	struct exact exact = { .address = *address };
	struct bpf_sock *sk;

	for (int place = 0; place < GROUP_PLACES; place++) {
		exact.port = port | place << 16;
		sk = bpf_map_lookup_elem(&fib_exact, &exact);
		if (sk) {
			bpf_sk_release(sk);
			return true;
		}
	}
	return false;
}

SEC("sk_lookup")
int fib_lookup(struct bpf_sk_lookup *context)
{
	const struct fib_config *config = fib_settings();
	struct fib_listener key = {};
	struct fib_address address;

	if (!config || context->protocol != IPPROTO_TCP)
		return SK_PASS;
	if (context->family == AF_INET) {
		fib_map_ipv4(&address, opaque(context->local_ip4));
	} else {
		address.words[0] = opaque(context->local_ip6[0]);
		address.words[1] = opaque(context->local_ip6[1]);
		address.words[2] = opaque(context->local_ip6[2]);
		address.words[3] = opaque(context->local_ip6[3]);
	}
	if (!fib_of_own(config, &address, &key.fib) || !key.fib)
		return SK_PASS;
	if (has_exact(&address, context->local_port))
		return SK_PASS;
	key.port = (__u16)context->local_port;
	/* Also where the kernel itself would find it: what is the preferred address may have changed since. */
	if (context->family == AF_INET && bring(context, &key, AF_INET))
		return SK_PASS;
	bring(context, &key, AF_INET6);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
