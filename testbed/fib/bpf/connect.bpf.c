// SPDX-License-Identifier: BSD-2-Clause
/* connect and sendmsg of a socket whose FIB has no address of the destination's family (row 24):
 * there is nothing it could send from, and nothing may be borrowed from another FIB.
 */
#include "borrowed.h"
#include "home.h"
#include "socket.h"

static __always_inline int judge(struct bpf_sock_addr *context, __u32 needed)
{
	const struct fib_state *state;
	__u32 fib;

	if (!socket_fib(context, &fib))
		return refuse(EADDRNOTAVAIL);
	if (!fib)
		return 1;
	state = bpf_map_lookup_elem(&fib_states, &fib);
	if (!state || (state->flags & needed))
		return 1; /* not configured: the rules say unreachable */
	return refuse(EADDRNOTAVAIL);
}

static __always_inline int judge_ipv4(struct bpf_sock_addr *context)
{
	if (!context->sk || !context_is_home(context))
		return 1;
	return judge(context, FIB_HAS_IPV4);
}

static __always_inline int judge_ipv6(struct bpf_sock_addr *context)
{
	struct fib_address address;

	if (!context->sk || !context_is_home(context))
		return 1;
	user_ipv6(context, &address);
	return judge(context, is_mapped(&address) ? FIB_HAS_IPV4 : FIB_HAS_IPV6);
}

SEC("cgroup/connect4")
int fib_connect4(struct bpf_sock_addr *context)
{
	if (context->sk && !give_back(context, context->sk))
		return refuse(EADDRNOTAVAIL);
	return judge_ipv4(context);
}

/* Whether this datagram has the mark that a failed bind has lent: the kernel has copied it before it asks
 * (ipcm_init_sk in udp_sendmsg, ipcm6_init_sk in udpv6_sendmsg). It must not leave by that FIB; what the
 * socket sends next is of FIB 0. */
static __always_inline bool is_lent(struct bpf_sock_addr *context)
{
	if (!context->sk || !is_borrowed(context->sk))
		return false;
	give_back(context, context->sk);
	return true;
}

SEC("cgroup/sendmsg4")
int fib_sendmsg4(struct bpf_sock_addr *context)
{
	if (is_lent(context))
		return refuse(ENETUNREACH);
	return judge_ipv4(context);
}

SEC("cgroup/connect6")
int fib_connect6(struct bpf_sock_addr *context)
{
	if (context->sk && !give_back(context, context->sk))
		return refuse(EADDRNOTAVAIL);
	return judge_ipv6(context);
}

SEC("cgroup/sendmsg6")
int fib_sendmsg6(struct bpf_sock_addr *context)
{
	if (is_lent(context))
		return refuse(ENETUNREACH);
	return judge_ipv6(context);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
