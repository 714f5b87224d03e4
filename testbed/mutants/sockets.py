"""Defects in what sockets and threads are given: cgroup and LSM programs."""

from __future__ import annotations

from testbed.mutants.mutant import Mutant, Patch

_SOCKETS = "isolation/test_sockets.py"
_THREADS = "isolation/test_threads.py"

SOCKETS = (
    Mutant(
        "thread-leaks-to-siblings",
        "a thread's FIB is that of its whole process",
        (f"{_THREADS}::test_siblings_have_each_their_own_fib",),
        (
            Patch(
                "bpf/task.h",
                "	if (config && (config->flags & FIB_THREAD_LEAK))\n",
                "	if (config)\n",
            ),
        ),
    ),
    Mutant(
        "thread-number-reused",
        "a thread's FIB is kept by its number, which another gets after its end",
        (f"{_THREADS}::test_thread_with_a_dead_ones_number_starts_without_its_fib",),
        (
            Patch(
                "bpf/task.h",
                "/* The task that holds the FIB of the current one:",
                "struct {\n"
                "	__uint(type, BPF_MAP_TYPE_HASH);\n"
                "	__type(key, __u32);\n"
                "	__type(value, __u32);\n"
                "	__uint(max_entries, 65536);\n"
                '} fib_numbers SEC(".maps");\n\n'
                "/* The task that holds the FIB of the current one:",
            ),
            Patch(
                "bpf/task.h",
                "	return own ? own->fib : 0;\n",
                "	__u32 number = (__u32)bpf_get_current_pid_tgid();\n"
                "	__u32 *kept = bpf_map_lookup_elem(&fib_numbers, &number);\n\n"
                "	return kept ? *kept : own ? own->fib : 0;\n",
            ),
            Patch(
                "bpf/task.h",
                "	own->fib = fib;\n",
                "	__u32 number = (__u32)bpf_get_current_pid_tgid();\n\n"
                "	bpf_map_update_elem(&fib_numbers, &number, &fib, BPF_ANY);\n"
                "	own->fib = fib;\n",
            ),
        ),
    ),
    Mutant(
        "fork-forgets",
        "what a thread starts is in FIB 0",
        (f"{_THREADS}::test_what_a_thread_starts_has_its_fib",),
        (Patch("bpf/thread.bpf.c", "	child->fib = fib;\n", "	child->fib = 0;\n"),),
    ),
    Mutant(
        "number-unchecked",
        "prctl takes a FIB of any number",
        (f"{_THREADS}::test_fib_that_does_not_exist_is_refused_and_changes_nothing",),
        (
            Patch(
                "bpf/thread.bpf.c",
                "		if (argument > FIB_MAX)\n			return -EINVAL;\n",
                "",
            ),
        ),
    ),
    Mutant(
        "socket-number-unchecked",
        "SO_SETFIB takes a FIB of any number",
        (f"{_THREADS}::test_fib_that_does_not_exist_is_refused_and_changes_nothing",),
        (
            Patch(
                "bpf/sockopt.bpf.c",
                "		error = *value < 0 || *value > FIB_MAX ? EINVAL : set_fib(sk, (__u32)*value);\n",
                "		error = set_fib(sk, (__u32)*value);\n",
            ),
        ),
    ),
    Mutant(
        "socket-takes-no-fib",
        "new sockets do not take their thread's FIB",
        (f"{_THREADS}::test_siblings_have_each_their_own_fib",),
        (Patch("bpf/thread.bpf.c", "	if (!fib)\n		return 1;\n", "	return 1;\n"),),
    ),
    Mutant(
        "bind-to-foreign-address",
        "a socket may bind to an address of another FIB",
        (f"{_SOCKETS}::test_socket_binds_to_its_fibs_addresses_alone",),
        (
            Patch(
                "bpf/bind.bpf.c",
                "	if (*fib && *fib != address_fib)\n		return false;\n",
                "",
            ),
        ),
    ),
    Mutant(
        "bind-sets-no-fib",
        "a socket that binds to an address does not take its FIB",
        (f"{_SOCKETS}::test_socket_binds_to_its_fibs_addresses_alone",),
        (
            Patch(
                "bpf/bind.bpf.c",
                "	if (fib != mark && !borrow(",
                "	if (fib != mark && mark && !borrow(",
            ),
        ),
    ),
    Mutant(
        "bound-socket-changes-fib",
        "a bound socket may still be given another FIB",
        (f"{_SOCKETS}::test_socket_binds_to_its_fibs_addresses_alone",),
        (
            Patch(
                "bpf/sockopt.bpf.c",
                "	if (is_bound(sk))\n		return fib == sk->mark ? 0 : EISCONN;\n",
                "",
            ),
        ),
    ),
    Mutant(
        "own-listener-hears-all",
        "a FIB's own listener is bound to any address, as a wildcard one is",
        (f"{_SOCKETS}::test_fibs_own_listener_stands_beside_a_wildcard_one",),
        (
            Patch(
                "bpf/bind.bpf.c",
                "		context->user_ip6[3] = opaque(chosen->words[3]);\n	}\n	return share_port",
                "		context->user_ip6[0] = 0;\n"
                "		context->user_ip6[2] = 0;\n"
                "		context->user_ip6[3] = 0;\n	}\n	return share_port",
            ),
        ),
    ),
    Mutant(
        "own-listener-at-one-address",
        "a FIB's own listener is not reached at the FIB's other addresses",
        (f"{_SOCKETS}::test_fibs_own_listener_serves_all_its_addresses",),
        (
            Patch(
                "bpf/lookup.bpf.c",
                "	error = bpf_sk_assign(context, sk, 0);",
                "	error = sk->mark ? -1 : bpf_sk_assign(context, sk, 0);",
            ),
        ),
    ),
    Mutant(
        "raw-hears-all",
        "a raw socket of a FIB hears every tenant's packets",
        (f"{_SOCKETS}::test_raw_socket_hears_its_own_fib",),
        (
            Patch(
                "bpf/hear.bpf.c",
                "			return PASS;\n		return DROP;\n",
                "			return PASS;\n		return PASS;\n",
            ),
        ),
    ),
    Mutant(
        "only-ignored",
        "a socket that is to hear FIB 0 alone hears all tenants",
        (f"{_SOCKETS}::test_socket_of_fib_0_alone_is_not_reached_by_a_tenant",),
        (
            Patch(
                "bpf/hear.bpf.c",
                "	return only && *only ? drop(FIB_DROP_ONLY) : PASS;\n",
                "	return only && *only > 1 ? drop(FIB_DROP_ONLY) : PASS;\n",
            ),
        ),
    ),
    Mutant(
        "accept-sets-every-thread",
        "accept sets the thread's FIB where nobody has asked for it",
        (f"{_SOCKETS}::test_accepting_thread_takes_the_connections_fib_if_asked",),
        (
            Patch(
                "bpf/accept.bpf.c",
                "	if ((opted && *opted) || (current_policy()",
                "	if (!opted || *opted || (current_policy()",
            ),
        ),
    ),
    Mutant(
        "accept-sets-no-thread",
        "accept does not set the thread's FIB where it was asked to",
        (f"{_SOCKETS}::test_accepting_thread_takes_the_connections_fib_if_asked",),
        (
            Patch(
                "bpf/accept.bpf.c",
                "		set_thread_fib(accepted->sk_mark);\n",
                "		set_thread_fib(listener->sk_mark);\n",
            ),
        ),
    ),
    Mutant(
        "resolver-of-another-fib",
        "the virtual resolver stands for another FIB's DNS server",
        ("isolation/test_resolvers.py",),
        (
            Patch(
                "bpf/resolver.bpf.c",
                "	struct fib_resolver key = { .fib = fib,",
                "	struct fib_resolver key = { .fib = fib % 2 + 1,",
            ),
        ),
    ),
    Mutant(
        "resolver-shows-itself",
        "an answer does not seem to come from the virtual resolver that was asked",
        ("isolation/test_resolvers.py",),
        (
            Patch(
                "bpf/resolver.bpf.c",
                "	*address = *wanted;\n	return true;\n",
                "	return false;\n",
            ),
        ),
    ),
)
