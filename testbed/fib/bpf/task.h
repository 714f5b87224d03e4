/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The default FIB of a task.
 */
#ifndef FIB_TASK_H
#define FIB_TASK_H

#include "maps.h"

/* Default FIB of a thread; absent: 0. Freed with the task, so a recycled thread id starts anew.
 * Key: task. Value: struct fib_task, 4 bytes. Entries: as many as there are tasks.
 * Writers: fib_prctl, fib_task_alloc, fib_accept. Reader: fib_socket. */
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

/* Set the default FIB of the current task; false: no memory. */
static __always_inline bool set_thread_fib(__u32 fib)
{
	struct fib_task *own = bpf_task_storage_get(&fib_tasks, holder(), NULL,
						    BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!own)
		return false;
	own->fib = fib;
	return true;
}

#endif
