/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What fib_trace.bpf.c tells fib-trace. Integers are in host byte order.
 */
#ifndef FIB_TRACE_H
#define FIB_TRACE_H

#include <linux/types.h>

enum fib_trace_kind {
	FIB_TRACE_THREAD,  /* `thread` has started `child` */
	FIB_TRACE_SOCKET,  /* `thread` has made a socket, all hooks have run */
	FIB_TRACE_CONNECT, /* `thread` connects a socket */
};

struct fib_trace {
	__u32 kind;
	__u32 process;
	__u32 thread;
	__u32 child;
	__u32 fib;
	__u16 family;
	__u16 type;
	char command[16];
};

#endif
