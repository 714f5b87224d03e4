/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FIB_ONLY_H
#define FIB_ONLY_H

#include "kernel.h"

/* Sockets that shall hear FIB 0 alone.
 * Key: socket. Value: 4 bytes, 0 or 1. Entries: one a socket with SO_FIB_ONLY.
 * Writer: fib_setsockopt. Reader: fib_hear. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_only SEC(".maps");

#endif
