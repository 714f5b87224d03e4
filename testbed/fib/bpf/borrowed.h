/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A socket without a FIB takes that of the address it is bound to, before the kernel has bound it. No
 * hook tells when that fails (the port is taken): the socket must be without a FIB again for whatever
 * its program tries next.
 */
#ifndef FIB_BORROWED_H
#define FIB_BORROWED_H

#include "socket.h"

/* Sockets whose FIB is that of the address they were to be bound to.
 * Key: socket. Value: 4 bytes, 1. Entries: one a socket of FIB 0 that was bound to a FIB's address.
 * Writers: fib_bind4/6, fib_connect4/6, fib_sendmsg4/6, fib_listen, fib_setsockopt. Readers: the same,
 * fib_getsockopt. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_borrowed SEC(".maps");

/* Whether the bind has failed: it was to an address, and the socket has none. (It may have a port: the
 * kernel gives one to an unbound socket that sends, before it asks a hook.) */
static __always_inline bool is_borrowed(struct bpf_sock *sk)
{
	struct fib_address address;

	if (!bpf_sk_storage_get(&fib_borrowed, sk, NULL, 0))
		return false;
	local_address(sk, &address);
	return is_any(&address);
}

static __always_inline bool borrow(struct bpf_sock_addr *context, __u32 fib)
{
	__u32 *stored = bpf_sk_storage_get(&fib_borrowed, context->sk, NULL,
					   BPF_SK_STORAGE_GET_F_CREATE);

	return stored && !bpf_setsockopt(context, SOL_SOCKET, SO_MARK, &fib, sizeof(fib));
}

/* Take back what a bind of context->sk that failed has lent; false: that cannot be done. */
static __always_inline bool give_back(void *context, struct bpf_sock *sk)
{
	__u32 none = 0;

	if (!is_borrowed(sk))
		return true;
	bpf_sk_storage_delete(&fib_borrowed, sk);
	return !bpf_setsockopt(context, SOL_SOCKET, SO_MARK, &none, sizeof(none));
}

#endif
