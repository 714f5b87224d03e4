/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FIB_ACCEPTING_H
#define FIB_ACCEPTING_H

#include "kernel.h"

/* Listeners on which accept() sets the thread's FIB. Not inherited by accepted sockets.
 * Key: socket. Value: 4 bytes, 0 or 1. Entries: one a socket with SO_FIB_ACCEPT.
 * Writer: fib_setsockopt. Reader: fib_accept. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_accepting SEC(".maps");

#endif
