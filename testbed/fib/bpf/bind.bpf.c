// SPDX-License-Identifier: BSD-2-Clause
/* bind to an address (row 20): a socket without a FIB takes the address's, one of another FIB is
 * refused as if the address did not exist. A raw socket does not pass the cgroup hooks: it is
 * refused at the LSM hook; unmarked it is routed by its source address.
 */
#include "maps.h"

/* Judge an address for a socket of FIB *fib and say its FIB; false: not available there. */
static __always_inline bool judge(const struct fib_address *address, __u32 *fib)
{
	const struct fib_config *config = fib_settings();
	__u32 address_fib = 0;

	if (!config)
		return false;
	if (!fib_of_own(config, address, &address_fib)) {
		if (fib_is_of_link(address))
			return true; /* wildcard, groups: row 51 keeps them in FIB 0 */
		if (*fib && *fib == config->interface_fib)
			return true; /* added by hand: the kernel knows whether it is there */
	}
	if (*fib && *fib != address_fib)
		return false;
	*fib = address_fib;
	return true;
}

static __always_inline int bind_to(struct bpf_sock_addr *context, const struct fib_address *address)
{
	struct bpf_sock *sk = context->sk;
	__u32 fib;

	if (!sk)
		return 1;
	fib = sk->mark;
	if (!judge(address, &fib)) {
		bpf_set_retval(-EADDRNOTAVAIL);
		return 0;
	}
	if (fib != sk->mark && bpf_setsockopt(context, SOL_SOCKET, SO_MARK, &fib, sizeof(fib))) {
		bpf_set_retval(-EADDRNOTAVAIL);
		return 0;
	}
	return 1;
}

SEC("cgroup/bind4")
int fib_bind4(struct bpf_sock_addr *context)
{
	struct fib_address address;

	fib_map_ipv4(&address, context->user_ip4);
	return bind_to(context, &address);
}

SEC("cgroup/bind6")
int fib_bind6(struct bpf_sock_addr *context)
{
	struct fib_address address;

	address.words[0] = context->user_ip6[0];
	address.words[1] = context->user_ip6[1];
	address.words[2] = context->user_ip6[2];
	address.words[3] = context->user_ip6[3];
	return bind_to(context, &address);
}

SEC("lsm/socket_bind")
int BPF_PROG(fib_bind_raw, struct socket *sock, void *sockaddr, int size)
{
	struct fib_address address;
	struct sock *sk = sock->sk;
	__be32 ipv4;
	__u16 family;
	__u32 fib;

	if (!sk || sk->sk_type != SOCK_RAW || size < 8 ||
	    (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6) ||
	    bpf_probe_read_kernel(&family, sizeof(family), sockaddr))
		return 0;
	if (family == AF_INET && !bpf_probe_read_kernel(&ipv4, sizeof(ipv4), sockaddr + 4))
		fib_map_ipv4(&address, ipv4);
	else if (family != AF_INET6 || size < 24 ||
		 bpf_probe_read_kernel(&address, sizeof(address), sockaddr + 8))
		return 0;
	fib = sk->sk_mark;
	return judge(&address, &fib) ? 0 : -EADDRNOTAVAIL;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
