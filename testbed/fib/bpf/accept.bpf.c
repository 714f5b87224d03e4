// SPDX-License-Identifier: BSD-2-Clause
/* Opt-in: accept() also sets the FIB of the accepting thread, so that an unmodified daemon that
 * forks for each connection does everything for it in its FIB. By cgroup (fibctl policy) or by
 * listener (SO_FIB_ACCEPT); otherwise the thread's FIB is left alone (row 23). A worker of io_uring that
 * accepts serves whoever comes next: its own is left alone, too (row 56).
 */
#include "accepting.h"
#include "home.h"
#include "policy.h"
#include "task.h"

static __always_inline bool is_worker(void)
{
	const struct fib_config *config = fib_settings();

	if (config && (config->flags & FIB_WORKER_LEAK))
		return false;
	return bpf_get_current_task_btf()->flags & PF_IO_WORKER;
}

SEC("fexit/inet_csk_accept")
int BPF_PROG(fib_accept, struct sock *listener, int flags, int *error, bool kern,
	     struct sock *accepted)
{
	__u32 *opted;

	if (!accepted || kern || is_worker() || !sock_is_home(accepted))
		return 0;
	opted = bpf_sk_storage_get(&fib_accepting, listener, NULL, 0);
	if ((opted && *opted) || (current_policy() & FIB_ACCEPT_SETS_THREAD))
		set_thread_fib(accepted->sk_mark);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
