"""Defects in how frames are read and judged: byte orders, options, fragments, families, groups."""

from __future__ import annotations

from testbed.mutants.mutant import Mutant, Patch

_PROGRAMS = "conformance/test_rows.py::test_rows_hold[test_programs]"
_WATCH = "conformance/test_rows.py::test_rows_hold[test_watch]"

FRAMES = (
    Mutant(
        "fragment-field-swapped",
        "the fragment field is read in the wrong byte order: an error with the flag DF passes unread",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/frame.h",
                "(__u16)(header[6] << 8 | header[7])",
                "(__u16)(header[7] << 8 | header[6])",
            ),
        ),
    ),
    Mutant(
        "options-not-skipped",
        "IPv4 options are taken for what is behind them",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/frame.h",
                "ETHERNET_BYTES + (header[0] & 0x0f) * 4",
                "ETHERNET_BYTES + IPV4_BYTES",
            ),
        ),
    ),
    Mutant(
        "extensions-not-skipped",
        "IPv6 extension headers are taken for what is behind them",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/frame.h",
                "	return frame_skip_extensions(skb, frame);\n",
                "	return FRAME_IP;\n",
            ),
        ),
    ),
    Mutant(
        "authentication-header-by-eights",
        "the length of an authentication header is counted in units of 8 bytes, as of all others",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/frame.h",
                "frame->offset += (header[1] + 2) * 4;",
                "frame->offset += (header[1] + 1) * 8;",
            ),
        ),
    ),
    Mutant(
        "foreign-error-believed-ipv6",
        "an ICMPv6 error may quote another FIB's flow",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	if ((frame.protocol == IPPROTO_ICMP || frame.protocol == IPPROTO_ICMPV6) &&\n",
                "	if (frame.protocol == IPPROTO_ICMP &&\n",
            ),
        ),
    ),
    Mutant(
        "few-errors-judged",
        "of ICMP errors only those about reachability are read",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;\n",
                "	return type == 3;\n",
            ),
        ),
    ),
    Mutant(
        "quoted-target-judged",
        "of a quoted packet the destination is judged, not the source",
        ("isolation/test_guards.py::test_error_about_another_tenants_flow_is_not_believed",),
        (Patch("bpf/ingress.bpf.c", "frame->offset + 8 + 12", "frame->offset + 8 + 16"),),
    ),
    Mutant(
        "fragmented-error-believed",
        "an ICMP error that comes in fragments is taken as it is",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	if (frame->more_fragments)\n		return drop(FIB_DROP_MALFORMED);\n",
                "	if (frame->more_fragments)\n		return TC_ACT_OK;\n",
            ),
        ),
    ),
    Mutant(
        "malformed-passes",
        "a frame that cannot be read is let in",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "		return drop(FIB_DROP_MALFORMED);\n	case FRAME_IP:",
                "		return TC_ACT_OK;\n	case FRAME_IP:",
            ),
        ),
    ),
    Mutant(
        "anchor-reachable",
        "the addresses that only hold FIB 0's place can be talked to",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	if (is_own && !fib && config->interface_fib)\n",
                "	if (is_own && !fib && !config)\n",
            ),
        ),
    ),
    Mutant(
        "group-in-interface-fib",
        "what is sent to a group is in the interface's FIB",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	if (!is_own && !fib_is_of_link(&frame.destination))\n",
                "	if (!is_own)\n",
            ),
        ),
    ),
    Mutant(
        "group-report-from-any-fib",
        "a tenant's FIB may send group reports to anybody",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/egress.bpf.c",
                "	if (frame->protocol == IPPROTO_IGMP && !source_fib)\n",
                "	if (frame->protocol == IPPROTO_IGMP)\n",
            ),
        ),
    ),
    Mutant(
        "discovery-from-any-socket",
        "a tenant's program may make up neighbour discovery",
        (_PROGRAMS,),
        (Patch("bpf/egress.bpf.c", "		return !skb->mark;\n", "		return true;\n"),),
    ),
    Mutant(
        "unknown-neighbour",
        "a FIB whose routers are known sends to any station that is none",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/egress.bpf.c",
                "	if ((state->flags & FIB_HAS_ROUTERS) || (frame",
                "	if ((frame",
            ),
        ),
    ),
    Mutant(
        "other-interface-ipv6",
        "an IPv6 address of a FIB can be reached by another interface",
        (_WATCH,),
        (
            Patch(
                "bpf/hear.bpf.c",
                "		return !bpf_skb_load_bytes(skb, 24, address, sizeof(*address));\n",
                "		return false;\n",
            ),
        ),
    ),
)
