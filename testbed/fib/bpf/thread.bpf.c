// SPDX-License-Identifier: BSD-2-Clause
/* The default FIB of a thread: a private prctl sets it, tasks inherit it from the task that
 * creates them (threads, forks, io_uring workers), exec keeps it because it keeps the task, and
 * every new IPv4 or IPv6 socket takes it as its mark. No capability is needed.
 */
#include "maps.h"

/* Task -> its default FIB; absent: 0. Freed with the task, so a recycled thread id starts anew.
 * Writers: fib_prctl, fib_task_alloc. Reader: fib_socket. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct fib_task);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_tasks SEC(".maps");

/* The task that holds the FIB of the current one: itself, but for the negative control. */
static __always_inline struct task_struct *holder(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct fib_config *config = fib_settings();

	if (config && (config->flags & FIB_THREAD_LEAK))
		return task->group_leader;
	return task;
}

static __always_inline __u32 thread_fib(void)
{
	struct fib_task *own = bpf_task_storage_get(&fib_tasks, holder(), NULL, 0);

	return own ? own->fib : 0;
}

SEC("lsm/task_prctl")
int BPF_PROG(fib_prctl, int option, unsigned long operation, unsigned long argument)
{
	struct fib_task *own;

	if (option != PR_FIB)
		return 0;
	switch (operation) {
	case PR_FIB_GET:
		return (int)thread_fib() + 1;
	case PR_FIB_SET:
		if (argument > FIB_MAX)
			return -EINVAL;
		own = bpf_task_storage_get(&fib_tasks, holder(), NULL,
					   BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!own)
			return -ENOMEM;
		own->fib = (__u32)argument;
		return (int)argument + 1;
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

/* lsm_cgroup, because the LSM hook proper may not call bpf_setsockopt. 1: go on, 0: EPERM. */
SEC("lsm_cgroup/socket_post_create")
int BPF_PROG(fib_socket, struct socket *sock, int family, int type, int protocol, int kern)
{
	struct sock *sk = sock->sk;
	__u32 fib;

	if (kern || (family != AF_INET && family != AF_INET6) || !sk)
		return 1;
	fib = thread_fib();
	if (!fib)
		return 1;
	return bpf_setsockopt(sk, SOL_SOCKET, SO_MARK, &fib, sizeof(fib)) == 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
