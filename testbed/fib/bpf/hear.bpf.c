// SPDX-License-Identifier: BSD-2-Clause
/* What a socket hears: one of FIB k nothing of another FIB, which the kernel itself does not ensure
 * for raw sockets (row 33); one with SO_FIB_ONLY nothing but FIB 0 (row 17).
 */
#include "maps.h"
#include "only.h"

#define PASS 1
#define DROP 0

SEC("cgroup_skb/ingress")
int fib_hear(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	__u32 *only;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk)
		return PASS;
	if (sk->mark) {
		/* Unmarked packets come from this system's FIB 0; a raw socket would hear them all. */
		if (skb->mark == sk->mark || (!skb->mark && sk->type != SOCK_RAW))
			return PASS;
		return DROP;
	}
	if (!skb->mark)
		return PASS;
	only = bpf_sk_storage_get(&fib_only, sk, NULL, 0);
	return only && *only ? DROP : PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
