/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FIB_FOREIGN_H
#define FIB_FOREIGN_H

#include "kernel.h"

/* Sockets of another network namespace (home.h), which cgroup_skb programs cannot ask for; accepted
 * sockets inherit it. Key: socket. Value: 4 bytes, nothing. Entries: one a socket made elsewhere.
 * Writer: fib_socket. Reader: fib_hear. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_foreign SEC(".maps");

#endif
