"""Defects at the edges of what a thread may have: jails, the last number, other namespaces."""

from __future__ import annotations

from testbed.mutants.mutant import Mutant, Patch

_POLICIES = "conformance/test_rows.py::test_rows_hold[test_policies]"
_THREADS = "conformance/test_rows.py::test_rows_hold[test_threads]"
_SOCKETS = "conformance/test_rows.py::test_rows_hold[test_sockets]"
_NAMESPACES = "conformance/test_rows.py::test_rows_hold[test_namespaces]"

JAILS = (
    Mutant(
        "jail-lets-sockets-change",
        "a jailed program may give a socket any FIB",
        (_POLICIES,),
        (
            Patch(
                "bpf/sockopt.bpf.c",
                "	if (fib != sk->mark && !may_use(fib))\n		return EPERM;\n",
                "",
            ),
        ),
    ),
    Mutant(
        "mark-leads-out-of-jail",
        "a jailed program with CAP_NET_ADMIN gets out by SO_MARK",
        (_POLICIES,),
        (
            Patch(
                "bpf/sockopt.bpf.c",
                "(void *)(mark + 1) > context->optval_end || may_use(*mark))",
                "(void *)(mark + 1) > context->optval_end || *mark)",
            ),
        ),
    ),
    Mutant(
        "mark-of-one-packet-unjudged",
        "a jailed program with CAP_NET_ADMIN gets one packet out by SO_MARK as a control message",
        (_POLICIES,),
        (
            Patch(
                "bpf/jail.bpf.c",
                "is_mark(&header, control + sizeof(header), &mark) && !may_use(mark))",
                "is_mark(&header, control + sizeof(header), &mark) && !mark)",
            ),
        ),
    ),
    Mutant(
        "mark-of-later-packets-unjudged",
        "a jailed program with CAP_NET_ADMIN gets packets out by SO_MARK, behind one to the same address",
        (_POLICIES,),
        (
            Patch(
                "bpf/jail.bpf.c",
                "(current_policy() & FIB_JAIL) && may_mark() ? -EPERM : 0;",
                "(current_policy() & FIB_JAIL) && !may_mark() ? -EPERM : 0;",
            ),
        ),
    ),
    Mutant(
        "jail-not-inherited",
        "a jail holds in its own cgroup and not in those below",
        (_POLICIES,),
        (
            Patch(
                "bpf/policy.h",
                "		permit.cgroup = bpf_get_current_ancestor_cgroup_id(level);\n"
                "		if (!permit.cgroup)\n			break;\n",
                "		permit.cgroup = bpf_get_current_cgroup_id();\n",
            ),
        ),
    ),
    Mutant(
        "jail-forgets-listen",
        "a socket of another FIB may listen in a jail",
        (_POLICIES,),
        (
            Patch(
                "bpf/jail.bpf.c",
                "int BPF_PROG(fib_jail_listen, struct socket *sock, int backlog)\n{\n"
                "	return judge(sock);\n",
                "int BPF_PROG(fib_jail_listen, struct socket *sock, int backlog)\n{\n	return 0;\n",
            ),
        ),
    ),
    Mutant(
        "last-fib-refused",
        "the highest FIB that there may be is refused to a thread",
        (_THREADS,),
        (
            Patch(
                "bpf/thread.bpf.c",
                "		if (argument > FIB_MAX)\n",
                "		if (argument >= FIB_MAX)\n",
            ),
        ),
    ),
    Mutant(
        "raw-bind-ipv6-unjudged",
        "a raw IPv6 socket may bind to an address of another FIB",
        (_SOCKETS,),
        (
            Patch(
                "bpf/bind.bpf.c",
                "	else if (family != AF_INET6 || size < 24 ||\n",
                "	else if (family == AF_INET6 || size < 24 ||\n",
            ),
        ),
    ),
    Mutant(
        "other-namespaces-too",
        "a thread in another network namespace has FIBs as well",
        (_NAMESPACES,),
        (
            Patch(
                "bpf/thread.bpf.c",
                "	if (option != PR_FIB || !task_is_home())\n",
                "	if (option != PR_FIB)\n",
            ),
        ),
    ),
)
