/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FIB_ONLY_H
#define FIB_ONLY_H

#include "kernel.h"

/* Socket -> 1 when it shall hear FIB 0 alone. Writer: fib_setsockopt. Reader: fib_hear. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_only SEC(".maps");

#endif
