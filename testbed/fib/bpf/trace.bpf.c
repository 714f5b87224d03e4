// SPDX-License-Identifier: BSD-2-Clause
/* Watches threads being started and sockets being made and connected; changes nothing. Not among the
 * programs of the extensions: fib-trace loads it for as long as somebody looks.
 */
#include "kernel.h"
#include "trace.h"

#define EVENT_BYTES (1 << 20)

/* Events, oldest first. Writers: below. Reader: fib-trace. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENT_BYTES);
} fib_events SEC(".maps");

/* Events that found no room. Writer: below. Reader: fib-trace. */
__u64 fib_lost = 0;

static __always_inline struct fib_trace *begin(enum fib_trace_kind kind)
{
	struct fib_trace *event = bpf_ringbuf_reserve(&fib_events, sizeof(*event), 0);
	__u64 both = bpf_get_current_pid_tgid();

	if (!event) {
		__sync_fetch_and_add(&fib_lost, 1);
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->process = both >> 32;
	event->thread = (__u32)both;
	bpf_get_current_comm(event->command, sizeof(event->command));
	return event;
}

static __always_inline void tell(enum fib_trace_kind kind, const struct sock *sk)
{
	struct fib_trace *event;

	if (!sk)
		return;
	event = begin(kind);
	if (!event)
		return;
	event->fib = BPF_CORE_READ(sk, sk_mark);
	event->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	event->type = BPF_CORE_READ(sk, sk_type);
	bpf_ringbuf_submit(event, 0);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(fib_trace_thread, struct task_struct *parent, struct task_struct *child)
{
	struct fib_trace *event = begin(FIB_TRACE_THREAD);

	if (!event)
		return 0;
	event->child = BPF_CORE_READ(child, pid);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* The last step of socket(): every hook has run. */
SEC("fexit/security_socket_post_create")
int BPF_PROG(fib_trace_socket, struct socket *sock, int family, int type, int protocol, int kern,
	     int error)
{
	if (!error && !kern)
		tell(FIB_TRACE_SOCKET, BPF_CORE_READ(sock, sk));
	return 0;
}

SEC("fentry/security_socket_connect")
int BPF_PROG(fib_trace_connect, struct socket *sock)
{
	tell(FIB_TRACE_CONNECT, BPF_CORE_READ(sock, sk));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
