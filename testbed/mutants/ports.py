"""Defects in who holds a port, whom a listener hears, and what the peer is called."""

from __future__ import annotations

from testbed.mutants.mutant import Mutant, Patch

_LISTENERS = "conformance/test_rows.py::test_rows_hold[test_listeners]"
_RESOLVER = "conformance/test_rows.py::test_rows_hold[test_policies]"
_ALL_ADDRESSES = "isolation/test_sockets.py::test_fibs_own_listener_serves_all_its_addresses"

PORTS = (
    Mutant(
        "failed-bind-holds",
        "a bind that failed is remembered, and counted at the next",
        (_LISTENERS,),
        (
            Patch(
                "bpf/bind.bpf.c",
                "	bpf_sk_storage_delete(&fib_held, context->sk); /* of a bind that failed before */\n",
                "",
            ),
        ),
    ),
    Mutant(
        "port-shared-unasked",
        "a FIB's port may be had by two sockets of which one has not asked to share it",
        (_LISTENERS,),
        (
            Patch(
                "bpf/bind.bpf.c",
                "holders->count[FIB_ALONE] || (holders->count[FIB_SHARED] && !shares)",
                "holders->count[FIB_ALONE]",
            ),
        ),
    ),
    Mutant(
        "port-never-free",
        "a port stays held when its socket is closed",
        (_LISTENERS,),
        (
            Patch(
                "bpf/bind.bpf.c",
                "	count(holders, held->kind, -1);\n",
                "	count(holders, held->kind, 0);\n",
            ),
        ),
    ),
    Mutant(
        "port-in-network-order",
        "a listener is kept by its port in network byte order",
        (_ALL_ADDRESSES,),
        (
            Patch(
                "bpf/bind.bpf.c",
                "bpf_ntohs((__u16)context->user_port)",
                "(__u16)context->user_port",
            ),
        ),
    ),
    Mutant(
        "families-share-a-port",
        "listeners of IPv4 and of IPv6 are kept as one",
        (_LISTENERS,),
        (Patch("bpf/bind.bpf.c", "		.family = family,\n", "		.family = AF_INET,\n"),),
    ),
    Mutant(
        "datagrams-never-shared",
        "SO_REUSEADDR does not let UDP sockets of a FIB share a port",
        (_LISTENERS,),
        (
            Patch(
                "bpf/bind.bpf.c",
                "wants(context, SO_REUSEPORT) ||\n"
                "	       (context->type == SOCK_DGRAM && wants(context, SO_REUSEADDR))",
                "wants(context, SO_REUSEPORT)",
            ),
        ),
    ),
    Mutant(
        "dual-stack-listener-ipv6-only",
        "a FIB's IPv6 listener that wants IPv4 too is bound to an IPv6 address, and hears no IPv4",
        ("isolation/test_sockets.py::test_fibs_own_listener_stands_beside_a_wildcard_one",),
        (
            Patch(
                "bpf/bind.bpf.c",
                "	if ((state->flags & FIB_HAS_IPV4) && !is_ipv6_only(context) &&\n",
                "	if ((state->flags & FIB_HAS_IPV4) && is_ipv6_only(context) &&\n",
            ),
        ),
    ),
    Mutant(
        "ipv6-only-ignored",
        "a FIB's listener that wants IPv6 alone is bound to an IPv4 address",
        (_LISTENERS,),
        (
            Patch(
                "bpf/bind.bpf.c",
                "	return !sk || BPF_CORE_READ_BITFIELD_PROBED((struct sock_common *)sk, skc_ipv6only);\n",
                "	return !sk;\n",
            ),
        ),
    ),
    Mutant(
        "exact-listener-passed-over",
        "a FIB's wildcard listener takes what is for a listener at the very address",
        (_LISTENERS,),
        (
            Patch(
                "bpf/lookup.bpf.c",
                "			bpf_sk_release(sk);\n			return true;\n",
                "			bpf_sk_release(sk);\n			return false;\n",
            ),
        ),
    ),
    Mutant(
        "mapped-address-is-ipv6",
        "an IPv4 address on an IPv6 socket is judged as IPv6",
        (_LISTENERS,),
        (
            Patch(
                "bpf/connect.bpf.c",
                "is_mapped(&address) ? FIB_HAS_IPV4 : FIB_HAS_IPV6",
                "FIB_HAS_IPV6",
            ),
        ),
    ),
    Mutant(
        "unconnected-unjudged",
        "a datagram of a socket that is not connected is not judged by its family",
        (_LISTENERS,),
        (
            Patch(
                "bpf/connect.bpf.c",
                "		return refuse(ENETUNREACH);\n	return judge_ipv6(context);\n",
                "		return refuse(ENETUNREACH);\n	return 1;\n",
            ),
        ),
    ),
    Mutant(
        "peer-is-the-real-server",
        "getpeername shows the DNS server instead of the virtual resolver that was connected to",
        ("isolation/test_resolvers.py",),
        (
            Patch(
                "bpf/resolver.bpf.c",
                "int fib_resolve_getpeername4(struct bpf_sock_addr *context)\n{\n"
                "	return answer_ipv4(context, true);\n",
                "int fib_resolve_getpeername4(struct bpf_sock_addr *context)\n{\n	return 1;\n",
            ),
        ),
    ),
    Mutant(
        "no-server-no-error",
        "a FIB without a DNS server asks the virtual address itself",
        (_RESOLVER,),
        (Patch("bpf/resolver.bpf.c", "		return -ENETUNREACH;\n", "		return 0;\n"),),
    ),
)
