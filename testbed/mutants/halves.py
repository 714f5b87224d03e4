"""Defects in one half of a thing whose other half is right: a family, a protocol, a kind of socket."""

from __future__ import annotations

from testbed.mutants.mutant import Mutant, Patch

_ADDRESSES = "routing/test_addresses.py"
_GUARDS = "isolation/test_guards.py"
_SPOOFING = "isolation/test_spoofing.py"

HALVES = (
    Mutant(
        "source-not-given-ipv6",
        "a FIB's routes of IPv6 say nothing of the source address",
        ("routing/test_sources.py::test_unbound_socket_sends_from_its_fibs_preferred_address",),
        (
            Patch(
                "desired.py",
                "            preferred[version],\n",
                '            preferred[version] if version == 4 else b"",\n',
            ),
        ),
    ),
    Mutant(
        "datagrams-outlive-move",
        "UDP sockets go on when their address moves to another FIB",
        (f"{_ADDRESSES}::test_move_ends_what_it_must_and_nothing_else",),
        (
            Patch(
                "apply.py",
                "        owner = changed.get(entry.plain_local, entry.mark)\n",
                '        if entry.protocol_name == "udp":\n            return False\n'
                "        owner = changed.get(entry.plain_local, entry.mark)\n",
            ),
        ),
    ),
    Mutant(
        "move-ends-everything",
        "when an address moves, every FIB's connections end",
        (f"{_ADDRESSES}::test_move_ends_what_it_must_and_nothing_else",),
        (
            Patch(
                "apply.py",
                "entry.mark in gone or entry.mark not in {0, owner}",
                "entry.mark in gone or entry.mark not in {0, -owner}",
            ),
        ),
    ),
    Mutant(
        "secondaries-go-along",
        "with a network's first address the kernel removes its others",
        (f"{_ADDRESSES}::test_others_stay_when_the_first_address_moves",),
        (
            Patch(
                "sysctls.py",
                '    "ipv4/conf/{}/promote_secondaries": "1",\n',
                '    "ipv4/conf/{}/promote_secondaries": "0",\n',
            ),
        ),
    ),
    Mutant(
        "sender-unchecked-ipv6",
        "a FIB takes packets of IPv6 from any router",
        (f"{_SPOOFING}::test_forged_frame_is_dropped_and_counted",),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	if (fib && (config->flags & FIB_STRICT_MAC) &&",
                "	if (fib && skb->protocol == bpf_htons(ETH_P_IP) &&\n"
                "	    (config->flags & FIB_STRICT_MAC) &&",
            ),
        ),
    ),
    Mutant(
        "fragments-from-anybody",
        "later fragments are taken from any router",
        (f"{_SPOOFING}::test_fragment_of_another_router_completes_no_datagram",),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	if (fib && (config->flags & FIB_STRICT_MAC) &&",
                "	if (fib && !frame.later_fragment && (config->flags & FIB_STRICT_MAC) &&",
            ),
        ),
    ),
    Mutant(
        "errors-from-anybody",
        "ICMP errors about a FIB's flows are taken from any router",
        (f"{_GUARDS}::test_error_about_another_tenants_flow_is_not_believed",),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	if (fib && (config->flags & FIB_STRICT_MAC) &&",
                "	if (fib && frame.protocol != IPPROTO_ICMP && (config->flags & FIB_STRICT_MAC) &&",
            ),
        ),
    ),
    Mutant(
        "threads-forget",
        "a thread starts in FIB 0, unlike a fork",
        ("isolation/test_threads.py::test_what_a_thread_starts_has_its_fib",),
        (
            Patch(
                "bpf/thread.bpf.c",
                "	if (!fib)\n		return 0;\n	child =",
                "	if (!fib || (clone_flags & 0x00010000)) /* CLONE_THREAD */\n		return 0;\n	child =",
            ),
        ),
    ),
    Mutant(
        "resolver-without-tcp",
        "the virtual resolver stands for nobody where it is asked over TCP",
        ("isolation/test_resolvers.py::test_unmodified_program_resolves_by_one_resolv_conf",),
        (
            Patch(
                "bpf/resolver.bpf.c",
                "	if (!fib || !wanted ||",
                "	if (!fib || sk->type == SOCK_STREAM || !wanted ||",
            ),
        ),
    ),
)
