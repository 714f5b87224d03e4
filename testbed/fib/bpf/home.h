/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Hooks of cgroups, LSM and tracing see every network namespace; FIBs belong to one. In all others the
 * programs leave everything as it is. (tc and sk_lookup programs are attached inside that namespace.)
 */
#ifndef FIB_HOME_H
#define FIB_HOME_H

#include "kernel.h"

/* The namespace whose FIBs these are.
 * Key: 4 bytes, 0. Value: 8 bytes, its cookie (SO_NETNS_COOKIE) in host byte order. Entries: 1.
 * Writer: fib-loader, before it attaches the first program. Readers: below. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_home SEC(".maps");

static __always_inline bool is_home(__u64 cookie)
{
	__u32 zero = 0;
	const __u64 *home = bpf_map_lookup_elem(&fib_home, &zero);

	return home && *home == cookie;
}

/* For programs whose context is a bpf_sock_addr, bpf_sock, bpf_sockopt or bpf_sock_ops. */
#define context_is_home(context) is_home(bpf_get_netns_cookie(context))

static __always_inline bool sock_is_home(const struct sock *sk)
{
	return is_home(sk->__sk_common.skc_net.net->net_cookie);
}

static __always_inline bool task_is_home(void)
{
	return is_home(bpf_get_current_task_btf()->nsproxy->net_ns->net_cookie);
}

#endif
