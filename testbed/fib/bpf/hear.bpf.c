// SPDX-License-Identifier: BSD-2-Clause
/* What a socket hears: one of FIB k nothing of another FIB, which the kernel itself does not ensure
 * for raw sockets (row 33); one with SO_FIB_ONLY nothing but FIB 0 (row 17); and none anything for a
 * FIB's address that came in by another interface, where nobody has judged the sender: the kernel takes
 * an address for that of the whole system, wherever it was added (row 39).
 */
#include "foreign.h"
#include "maps.h"
#include "only.h"

#define PASS 1
#define DROP 0
#define LOOPBACK 1 /* index of lo in every network namespace */

/* The destination; here a packet begins with its IP header. */
static __always_inline bool read_destination(struct __sk_buff *skb, struct fib_address *address)
{
	__be32 ipv4;

	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return !bpf_skb_load_bytes(skb, 24, address, sizeof(*address));
	if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, 16, &ipv4, 4))
		return false;
	fib_map_ipv4(address, ipv4);
	return true;
}

/* Whether an unmarked packet is for a FIB and came by an interface that is not the FIBs'. */
static __always_inline bool is_from_elsewhere(struct __sk_buff *skb)
{
	const struct fib_config *config = fib_settings();
	struct fib_address destination;
	__u32 fib = 0;

	return skb->ifindex != LOOPBACK && config && read_destination(skb, &destination) &&
	       fib_of_own(config, &destination, &fib) && fib;
}

static __always_inline int drop(enum fib_drop reason)
{
	fib_count(reason);
	return DROP;
}

SEC("cgroup_skb/ingress")
int fib_hear(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	__u32 *only;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || bpf_sk_storage_get(&fib_foreign, sk, NULL, 0))
		return PASS;
	if (!skb->mark && is_from_elsewhere(skb))
		return drop(FIB_DROP_INTERFACE);
	if (sk->mark) {
		/* Unmarked ones are this system's own FIB 0's, of which a raw socket would hear all; or
		 * they came in for a group, the link or another network: FIB 0's alone (row 51). */
		if (skb->mark == sk->mark ||
		    (!skb->mark && skb->ifindex == LOOPBACK && sk->type != SOCK_RAW))
			return PASS;
		return DROP;
	}
	if (!skb->mark)
		return PASS;
	only = bpf_sk_storage_get(&fib_only, sk, NULL, 0);
	return only && *only ? drop(FIB_DROP_ONLY) : PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
