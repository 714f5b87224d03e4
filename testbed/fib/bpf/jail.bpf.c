// SPDX-License-Identifier: BSD-2-Clause
/* The jail: code in a jailed cgroup cannot use a socket of a FIB that is not in the cgroup's set,
 * however it came by it: by prctl, or by a family below IP or with connections of its own inside (packet,
 * SMC; both refused in thread.bpf.c), by SO_SETFIB (sockopt.bpf.c), or by a descriptor made before or
 * elsewhere (refused here, when it is used). What an output interface or a source address chosen per
 * packet would get past this is stopped by the egress guard. Everything is refused with EPERM.
 */
#include "home.h"
#include "policy.h"

static __always_inline int judge(const struct socket *sock)
{
	const struct sock *sk = sock->sk;

	if (!has_policies() || !sk ||
	    (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	return !sock_is_home(sk) || may_use(sk->sk_mark) ? 0 : -EPERM;
}

SEC("lsm/socket_bind")
int BPF_PROG(fib_jail_bind, struct socket *sock, void *address, int size)
{
	return judge(sock);
}

SEC("lsm/socket_connect")
int BPF_PROG(fib_jail_connect, struct socket *sock, void *address, int size)
{
	return judge(sock);
}

SEC("lsm/socket_listen")
int BPF_PROG(fib_jail_listen, struct socket *sock, int backlog)
{
	return judge(sock);
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(fib_jail_sendmsg, struct socket *sock, void *message, int size)
{
	return judge(sock);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
