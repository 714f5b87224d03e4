/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FIB_HELD_H
#define FIB_HELD_H

#include "kernel.h"
#include "shared.h"

/* A socket's entry in fib_listeners, for the time it holds one. Not inherited on accept.
 * Key: socket. Value: struct held, 16 bytes. Entries: one a socket bound to any address.
 * Writers: fib_bind4/6, fib_post_bind4/6. Readers: fib_release, fib_destroy,
 * fib_listen. */
struct held {
	struct fib_listener key;
	__u32 kind;       /* FIB_ALONE or FIB_SHARED */
	__u32 is_counted; /* the bind has succeeded */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct held);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_held SEC(".maps");

#endif
