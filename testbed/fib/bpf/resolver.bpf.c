// SPDX-License-Identifier: BSD-2-Clause
/* One resolver address for all FIBs: /etc/resolv.conf names a virtual address, which connect and
 * sendmsg exchange for the DNS server of the socket's FIB, and recvmsg and getpeername back, so that
 * an unmodified resolver sees its answer come from the address it asked.
 */
#include "home.h"
#include "socket.h"

/* DNS servers of FIBs.
 * Key: struct fib_resolver, 8 bytes. Value: struct fib_address, 16 bytes. Entries: two a FIB, 131,072.
 * Writer: fibctl. Readers: below. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct fib_resolver);
	__type(value, struct fib_address);
	__uint(max_entries, 2 * FIB_MAP_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_resolvers SEC(".maps");

/* Sockets that have asked a virtual address: only their answers are turned back. One that is connected to
 * the server's own address has no entry, until it asks the virtual one by sendmsg.
 * Key: socket. Value: 4 bytes, PEER_TOO or ANSWERS_ONLY. Entries: one a socket that asked.
 * Writers: fib_resolve_connect*, _sendmsg*. Readers: fib_resolve_recvmsg*, _getpeername*. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_resolving SEC(".maps");

#define PEER_TOO 0u /* connected to the virtual address */
#define ANSWERS_ONLY 1u /* has sent to it; if connected, elsewhere */

static __always_inline bool is_equal(const struct fib_address *one, const struct fib_address *other)
{
	return one->words[0] == other->words[0] && one->words[1] == other->words[1] &&
	       one->words[2] == other->words[2] && one->words[3] == other->words[3];
}

static __always_inline bool is_set(const struct fib_address *address)
{
	return address->words[0] || address->words[1] || address->words[2] || address->words[3];
}

static __always_inline const struct fib_address *virtual_address(const struct fib_address *address)
{
	const struct fib_config *config = fib_settings();

	if (!config)
		return NULL;
	return is_mapped(address) ? &config->resolver_ipv4 : &config->resolver_ipv6;
}

static __always_inline const struct fib_address *server_of(__u32 fib,
							   const struct fib_address *address)
{
	struct fib_resolver key = { .fib = fib, .family = is_mapped(address) ? AF_INET : AF_INET6 };

	return bpf_map_lookup_elem(&fib_resolvers, &key);
}

/* Note that a socket asks the virtual address. */
static __always_inline bool note(struct bpf_sock *sk, bool connects)
{
	__u32 asked = connects ? PEER_TOO : ANSWERS_ONLY, *noted;

	noted = bpf_sk_storage_get(&fib_resolving, sk, &asked, BPF_SK_STORAGE_GET_F_CREATE);
	if (noted && connects)
		*noted = PEER_TOO;
	return noted;
}

/* Exchange a virtual address for the FIB's server. 0: nothing to do, 1: done, negative: no server. */
static __always_inline int translate(struct bpf_sock *sk, struct fib_address *address,
				     bool connects)
{
	const struct fib_address *wanted = virtual_address(address), *server;
	__u32 fib = sk->mark;

	if (!fib || !wanted || !is_set(wanted) || !is_equal(address, wanted)) {
		if (connects)
			bpf_sk_storage_delete(&fib_resolving, sk);
		return 0;
	}
	server = server_of(fib, address);
	if (!server)
		return -ENETUNREACH;
	if (!note(sk, connects))
		return -ENOMEM;
	*address = *server;
	return 1;
}

/* Exchange the FIB's server for the virtual address; whether there was something to do. */
static __always_inline bool turn_back(struct bpf_sock *sk, struct fib_address *address, bool is_peer)
{
	const struct fib_address *wanted, *server;
	const __u32 *noted;

	if (!sk->mark)
		return false;
	noted = bpf_sk_storage_get(&fib_resolving, sk, NULL, 0);
	if (!noted || (is_peer && *noted == ANSWERS_ONLY))
		return false;
	server = server_of(sk->mark, address);
	wanted = virtual_address(address);
	if (!server || !wanted || !is_equal(address, server))
		return false;
	*address = *wanted;
	return true;
}

static __always_inline void set_ipv6(struct bpf_sock_addr *context,
				     const struct fib_address *address)
{
	context->user_ip6[0] = opaque(address->words[0]);
	context->user_ip6[1] = opaque(address->words[1]);
	context->user_ip6[2] = opaque(address->words[2]);
	context->user_ip6[3] = opaque(address->words[3]);
}

static __always_inline int ask_ipv4(struct bpf_sock_addr *context, bool connects)
{
	struct fib_address address;
	int done;

	if (!context->sk || !context_is_home(context))
		return 1;
	fib_map_ipv4(&address, context->user_ip4);
	done = translate(context->sk, &address, connects);
	if (done < 0)
		return refuse(-done);
	if (done)
		context->user_ip4 = address.words[3];
	return 1;
}

static __always_inline int ask_ipv6(struct bpf_sock_addr *context, bool connects)
{
	struct fib_address address;
	int done;

	if (!context->sk || !context_is_home(context))
		return 1;
	user_ipv6(context, &address);
	done = translate(context->sk, &address, connects);
	if (done < 0)
		return refuse(-done);
	if (done)
		set_ipv6(context, &address);
	return 1;
}

static __always_inline int answer_ipv4(struct bpf_sock_addr *context, bool is_peer)
{
	struct fib_address address;

	if (!context->sk || !context_is_home(context))
		return 1;
	fib_map_ipv4(&address, context->user_ip4);
	if (turn_back(context->sk, &address, is_peer))
		context->user_ip4 = address.words[3];
	return 1;
}

static __always_inline int answer_ipv6(struct bpf_sock_addr *context, bool is_peer)
{
	struct fib_address address;

	if (!context->sk || !context_is_home(context))
		return 1;
	user_ipv6(context, &address);
	if (turn_back(context->sk, &address, is_peer))
		set_ipv6(context, &address);
	return 1;
}

SEC("cgroup/connect4")
int fib_resolve_connect4(struct bpf_sock_addr *context)
{
	return ask_ipv4(context, true);
}

SEC("cgroup/connect6")
int fib_resolve_connect6(struct bpf_sock_addr *context)
{
	return ask_ipv6(context, true);
}

SEC("cgroup/sendmsg4")
int fib_resolve_sendmsg4(struct bpf_sock_addr *context)
{
	return ask_ipv4(context, false);
}

SEC("cgroup/sendmsg6")
int fib_resolve_sendmsg6(struct bpf_sock_addr *context)
{
	return ask_ipv6(context, false);
}

SEC("cgroup/recvmsg4")
int fib_resolve_recvmsg4(struct bpf_sock_addr *context)
{
	return answer_ipv4(context, false);
}

SEC("cgroup/recvmsg6")
int fib_resolve_recvmsg6(struct bpf_sock_addr *context)
{
	return answer_ipv6(context, false);
}

SEC("cgroup/getpeername4")
int fib_resolve_getpeername4(struct bpf_sock_addr *context)
{
	return answer_ipv4(context, true);
}

SEC("cgroup/getpeername6")
int fib_resolve_getpeername6(struct bpf_sock_addr *context)
{
	return answer_ipv6(context, true);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
