// SPDX-License-Identifier: BSD-2-Clause
/* SCTP, which calls no hook of cgroups. A socket that is bound to no address tells its peer all that the
 * system has (sctp_copy_local_addr_list), those of other tenants too, and the peer may go on by any of
 * them. So where there are FIBs it must be bound to one, as bind.bpf.c judges it; then it is routed by it.
 */
#include "home.h"
#include "maps.h"

static __always_inline bool is_ours(const struct sock *sk)
{
	const struct fib_config *config = fib_settings();

	return sk && sk->sk_protocol == IPPROTO_SCTP && config && (config->flags & FIB_ACTIVE) &&
	       (sk->__sk_common.skc_family == AF_INET || sk->__sk_common.skc_family == AF_INET6) &&
	       sock_is_home(sk);
}

static __always_inline int judge(const struct sock *sk)
{
	return is_ours(sk) && !sk->__sk_common.skc_num ? -EADDRNOTAVAIL : 0;
}

SEC("lsm/socket_connect")
int BPF_PROG(fib_sctp_connect, struct socket *sock, void *address, int size)
{
	return judge(sock->sk);
}

SEC("lsm/socket_listen")
int BPF_PROG(fib_sctp_listen, struct socket *sock, int backlog)
{
	return judge(sock->sk);
}

/* bindx, connectx, and sendmsg that begins an association; one address is all a socket may have. */
SEC("lsm/sctp_bind_connect")
int BPF_PROG(fib_sctp_option, struct sock *sk, int option, void *address, int size)
{
	if (option == SCTP_SOCKOPT_BINDX_ADD)
		return is_ours(sk) ? -EADDRNOTAVAIL : 0;
	return judge(sk);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
