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

/* Wildcard listeners of FIBs.
 * Key: struct fib_listener, 8 bytes. Value: a TCP socket, which leaves when it is closed. Entries:
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
	__u32 port;
};

/* Listeners bound to an address of a FIB.
 * Key: struct exact, 20 bytes (port in host byte order). Value: a TCP socket. Entries: 65,536.
 * Writer: fib_listen. Reader: fib_lookup. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__type(key, struct exact);
	__type(value, __u64);
	__uint(max_entries, FIB_MAP_ENTRIES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_exact SEC(".maps");

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
		struct fib_listener key = held->key;

		bpf_sock_hash_update(context, &fib_wildcards, &key, BPF_ANY);
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
	bpf_sock_hash_update(context, &fib_exact, &exact, BPF_ANY);
	return 1;
}

static __always_inline bool is_preferred(__u32 fib, const struct fib_address *address)
{
	const struct fib_state *state = bpf_map_lookup_elem(&fib_states, &fib);
	const struct fib_address *preferred;

	if (!state)
		return true; /* nothing to bring to anybody */
	preferred = is_mapped(address) ? &state->ipv4 : &state->ipv6;
	return address->words[0] == preferred->words[0] && address->words[1] == preferred->words[1] &&
	       address->words[2] == preferred->words[2] && address->words[3] == preferred->words[3];
}

/* Hand the packet to the FIB's wildcard listener of a family; whether there was one. */
static __always_inline bool bring(struct bpf_sk_lookup *context, struct fib_listener *key,
				  __u8 family)
{
	struct bpf_sock *sk;
	long error;

	key->family = family;
	sk = bpf_map_lookup_elem(&fib_wildcards, key);
	if (!sk)
		return false;
	error = bpf_sk_assign(context, sk, 0); /* refused for an IPv6 socket that wants no IPv4 */
	bpf_sk_release(sk);
	return !error;
}

SEC("sk_lookup")
int fib_lookup(struct bpf_sk_lookup *context)
{
	const struct fib_config *config = fib_settings();
	struct fib_listener key = { .protocol = IPPROTO_TCP };
	struct exact exact = {};
	struct bpf_sock *sk;

	if (!config || context->protocol != IPPROTO_TCP)
		return SK_PASS;
	if (context->family == AF_INET) {
		fib_map_ipv4(&exact.address, opaque(context->local_ip4));
	} else {
		exact.address.words[0] = opaque(context->local_ip6[0]);
		exact.address.words[1] = opaque(context->local_ip6[1]);
		exact.address.words[2] = opaque(context->local_ip6[2]);
		exact.address.words[3] = opaque(context->local_ip6[3]);
	}
	if (!fib_of_own(config, &exact.address, &key.fib) || !key.fib)
		return SK_PASS;
	exact.port = context->local_port;
	key.port = (__u16)context->local_port;
	sk = bpf_map_lookup_elem(&fib_exact, &exact);
	if (sk) {
		bpf_sk_release(sk);
		return SK_PASS;
	}
	if (context->family == AF_INET)
		/* Bound to the preferred address the kernel itself finds it. */
		if (is_preferred(key.fib, &exact.address) || bring(context, &key, AF_INET))
			return SK_PASS;
	bring(context, &key, AF_INET6);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
