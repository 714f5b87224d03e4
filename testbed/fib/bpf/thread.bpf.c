// SPDX-License-Identifier: BSD-2-Clause
/* The default FIB of a thread: a private prctl sets it, tasks inherit it from the task that
 * creates them (threads, forks, io_uring workers), exec keeps it because it keeps the task, and
 * every new IPv4 or IPv6 socket takes it as its mark. No capability is needed.
 */
#include "foreign.h"
#include "home.h"
#include "policy.h"
#include "task.h"

SEC("lsm/task_prctl")
int BPF_PROG(fib_prctl, int option, unsigned long operation, unsigned long argument)
{
	if (option != PR_FIB || !task_is_home())
		return 0;
	switch (operation) {
	case PR_FIB_GET:
		return (int)thread_fib() + 1;
	case PR_FIB_SET:
		if (argument > FIB_MAX)
			return -EINVAL;
		if (!may_use((__u32)argument))
			return -EPERM;
		return set_thread_fib((__u32)argument) ? (int)argument + 1 : -ENOMEM;
	}
	return -EINVAL;
}

SEC("lsm/task_alloc")
int BPF_PROG(fib_task_alloc, struct task_struct *task, unsigned long clone_flags)
{
	__u32 fib = thread_fib();
	struct fib_task *child;

	if (!fib)
		return 0;
	child = bpf_task_storage_get(&fib_tasks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!child)
		return -ENOMEM; /* rather no thread than one in FIB 0 */
	child->fib = fib;
	return 0;
}

/* Families that no socket hook sees inside (SMC, RDS, TIPC) or that are below IP lead out of a jail. */
static __always_inline bool may_create(int family, int kern)
{
	return kern || family == AF_UNIX || family == AF_NETLINK || family == AF_ALG ||
	       !(current_policy() & FIB_JAIL);
}

/* One program for all that is asked of a new socket: every socket() passes each one there is.
 *
 * Connections that the kernel opens for a thread (MPTCP subflows, SMC, network file systems) are the
 * thread's too. lsm_cgroup, because the LSM hook proper may not call bpf_setsockopt. 1: go on, 0: EPERM. */
SEC("lsm_cgroup/socket_post_create")
int BPF_PROG(fib_socket, struct socket *sock, int family, int type, int protocol, int kern)
{
	struct sock *sk = sock->sk;
	__u32 fib;

	if ((family != AF_INET && family != AF_INET6) || !sk)
		return may_create(family, kern);
	if (!sock_is_home(sk)) {
		bpf_sk_storage_get(&fib_foreign, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		return 1;
	}
	if (kern && type != SOCK_STREAM)
		return 1; /* a namespace's control sockets */
	fib = thread_fib();
	if (!may_use(fib))
		return 0;
	if (!fib)
		return 1;
	return bpf_setsockopt(sk, SOL_SOCKET, SO_MARK, &fib, sizeof(fib)) == 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
