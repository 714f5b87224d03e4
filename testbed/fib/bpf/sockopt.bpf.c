// SPDX-License-Identifier: BSD-2-Clause
/* SOL_FIB: the FIB of one socket, set and read without the capability that SO_MARK needs. */
#include "accepting.h"
#include "borrowed.h"
#include "home.h"
#include "only.h"
#include "policy.h"
#include "socket.h"

#define PAGE_BYTES 4096

/* A level of others. The kernel hands us at most a page of a longer value; kernels before 6.5 without the
 * later fix of stable ones take an unchanged length for an error; 0 means "use the caller's value". */
static __always_inline int not_ours(struct bpf_sockopt *context)
{
	if (context->optlen > PAGE_BYTES)
		context->optlen = 0;
	return 1;
}

static __always_inline bool has_fib(const struct bpf_sock *sk)
{
	return sk->family == AF_INET || sk->family == AF_INET6;
}

static __always_inline int set_fib(struct bpf_sock *sk, __u32 fib)
{
	if (is_bound(sk))
		return fib == sk->mark ? 0 : EISCONN;
	if (fib != sk->mark && !may_use(fib))
		return EPERM;
	bpf_sk_storage_delete(&fib_borrowed, sk); /* from here on it is its own */
	return bpf_setsockopt(sk, SOL_SOCKET, SO_MARK, &fib, sizeof(fib)) ? EINVAL : 0;
}

/* Set a mark of a socket in a storage map of one 32-bit value. */
static __always_inline int set_switch(void *map, struct bpf_sock *sk, int on)
{
	__u32 *stored;

	if (on != 0 && on != 1)
		return EINVAL;
	stored = bpf_sk_storage_get(map, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!stored)
		return ENOMEM;
	*stored = (__u32)on;
	return 0;
}

static __always_inline int set_only(struct bpf_sock *sk, int on)
{
	if (is_bound(sk))
		return EISCONN;
	return set_switch(&fib_only, sk, on);
}

/* SO_MARK itself, which takes a capability, leads out of no jail. */
static __always_inline int judge_mark(struct bpf_sockopt *context)
{
	__u32 *mark = context->optval;

	if (!has_policies() || !context_is_home(context) || context->optlen < (int)sizeof(*mark) ||
	    (void *)(mark + 1) > context->optval_end || may_use(*mark))
		return 1;
	return refuse(EPERM);
}

SEC("cgroup/setsockopt")
int fib_setsockopt(struct bpf_sockopt *context)
{
	struct bpf_sock *sk = context->sk;
	int *value = context->optval;
	int error;

	if (context->level == SOL_SOCKET && context->optname == SO_MARK)
		return judge_mark(context);
	if (context->level != SOL_FIB || !sk || !has_fib(sk) || !context_is_home(context))
		return not_ours(context);
	if (context->optlen < (int)sizeof(*value) || (void *)(value + 1) > context->optval_end)
		return refuse(EINVAL);
	switch (context->optname) {
	case SO_SETFIB:
		error = *value < 0 || *value > FIB_MAX ? EINVAL : set_fib(sk, (__u32)*value);
		break;
	case SO_FIB_ANY:
		error = *value != 1 ? EINVAL : set_fib(sk, 0);
		break;
	case SO_FIB_ACCEPT:
		error = set_switch(&fib_accepting, sk, *value);
		break;
	case SO_FIB_ONLY:
		error = set_only(sk, *value);
		break;
	default:
		return not_ours(context); /* ENOPROTOOPT by the kernel */
	}
	if (error)
		return refuse(error);
	context->optlen = -1; /* done: the kernel need not look at it */
	return 1;
}

SEC("cgroup/getsockopt")
int fib_getsockopt(struct bpf_sockopt *context)
{
	const struct fib_config *config = fib_settings();
	struct bpf_sock *sk = context->sk;
	struct fib_address address;
	int *value = context->optval;
	__u32 fib;

	if (context->level != SOL_FIB || context->optname != SO_FIB || !sk || !has_fib(sk) ||
	    !context_is_home(context))
		return not_ours(context);
	if (!config || context->optlen < (int)sizeof(*value) ||
	    (void *)(value + 1) > context->optval_end)
		return refuse(EINVAL);
	fib = is_borrowed(sk) ? 0 : sk->mark;
	if (!fib) {
		local_address(sk, &address);
		fib_of_own(config, &address, &fib);
	}
	*value = (int)fib;
	context->optlen = (__s32)opaque(sizeof(*value)); /* else one 8-byte store with retval */
	context->retval = 0;
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
