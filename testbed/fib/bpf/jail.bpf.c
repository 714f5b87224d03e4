// SPDX-License-Identifier: BSD-2-Clause
/* The jail: code in a jailed cgroup cannot use a socket of a FIB that is not in the cgroup's set,
 * however it came by it: by prctl, or by a family below IP or with connections of its own inside (packet,
 * SMC; both refused in thread.bpf.c), by SO_SETFIB (sockopt.bpf.c), or by a descriptor made before or
 * elsewhere (refused here, when it is used), or by a control message that marks one packet (SO_MARK, refused
 * here too). What an output interface or a source address chosen per
 * packet would get past this is stopped by the egress guard. Everything is refused with EPERM.
 */
#include "home.h"
#include "policy.h"

#define CONTROL_MESSAGES 32 /* of one sendmsg in a jail; nobody sends so many */

static __always_inline bool is_judged(const struct socket *sock)
{
	const struct sock *sk = sock->sk;

	return has_policies() && sk &&
	       (sk->__sk_common.skc_family == AF_INET || sk->__sk_common.skc_family == AF_INET6) &&
	       sock_is_home(sk);
}

static __always_inline int judge(const struct socket *sock)
{
	return !is_judged(sock) || may_use(sock->sk->sk_mark) ? 0 : -EPERM;
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

/* Whether a control message is SO_MARK, with the mark. The kernel has copied what the user gave before it
 * asks (____sys_sendmsg, which io_uring passes too), so nothing changes any more. */
static __always_inline bool is_mark(const struct cmsghdr *header, const void *data, __u32 *mark)
{
	return header->cmsg_level == SOL_SOCKET && header->cmsg_type == SO_MARK &&
	       header->cmsg_len == sizeof(*header) + sizeof(*mark) && /* else EINVAL (__sock_cmsg_send) */
	       !bpf_probe_read_kernel(mark, sizeof(*mark), data);
}

/* Judge the marks in the control messages, which are read as for_each_cmsghdr does. What does not end in
 * so many cannot be judged. */
static __always_inline int judge_control(const struct msghdr *message)
{
	const void *control = message->msg_control;
	unsigned long left = message->msg_controllen;

	for (int i = 0; i < CONTROL_MESSAGES; i++) {
		struct cmsghdr header;
		unsigned long step;
		__u32 mark;

		if (left < sizeof(header))
			return 0;
		if (bpf_probe_read_kernel(&header, sizeof(header), control))
			return -EPERM;
		if (header.cmsg_len < sizeof(header) || header.cmsg_len > left)
			return 0; /* the kernel says EINVAL */
		if (is_mark(&header, control + sizeof(header), &mark) && !may_use(mark))
			return -EPERM;
		step = (header.cmsg_len + sizeof(long) - 1) & ~(sizeof(long) - 1);
		if (step >= left)
			return 0;
		control += step;
		left -= step;
	}
	return -EPERM;
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(fib_jail_sendmsg, struct socket *sock, struct msghdr *message, int size)
{
	int error = judge(sock);

	if (error || !message->msg_controllen || !is_judged(sock) || !(current_policy() & FIB_JAIL))
		return error;
	return judge_control(message);
}

/* Whether the kernel would take a mark of the current task (__sock_cmsg_send). */
static __always_inline bool may_mark(void)
{
	const struct cred *cred = bpf_get_current_task_btf()->cred;
	__u32 effective; /* the first 32 capabilities, whichever form kernel_cap_t has */

	return bpf_probe_read_kernel(&effective, sizeof(effective), &cred->cap_effective) ||
	       (effective & (1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW));
}

/* A sendmmsg: ____sys_sendmsg asks nobody about a datagram that goes to the address of the one before it,
 * and a mark may come with that. A program of its own, or the verifier walks all of the other one twice. */
SEC("lsm/socket_sendmsg")
int BPF_PROG(fib_jail_batch, struct socket *sock, struct msghdr *message, int size)
{
	if (!(message->msg_flags & MSG_BATCH) || !message->msg_name || !is_judged(sock))
		return 0;
	return (current_policy() & FIB_JAIL) && may_mark() ? -EPERM : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
