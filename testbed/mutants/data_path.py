"""Defects in what packets pass: tc programs, rules, routes, maps, kernel settings."""

from __future__ import annotations

from testbed.mutants.mutant import Mutant, Patch

_SOCKETS = "isolation/test_sockets.py"
_GUARDS = "isolation/test_guards.py"
_REACH = "routing/test_reach.py"
_SPOOFING = "isolation/test_spoofing.py"
_PROGRAMS = "conformance/test_rows.py::test_rows_hold[test_programs]"

DATA_PATH = (
    Mutant(
        "mark-lost",
        "packets of IPv4 reach their FIB without its mark",
        (f"{_SOCKETS}::test_accepting_thread_takes_the_connections_fib_if_asked",),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	skb->mark = fib;\n",
                "	skb->mark = skb->protocol == bpf_htons(ETH_P_IP) ? 0 : fib;\n",
            ),
        ),
    ),
    Mutant(
        "mark-lost-ipv6",
        "packets of IPv6 reach their FIB without its mark",
        (f"{_SOCKETS}::test_accepting_thread_takes_the_connections_fib_if_asked",),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	skb->mark = fib;\n",
                "	skb->mark = skb->protocol == bpf_htons(ETH_P_IPV6) ? 0 : fib;\n",
            ),
        ),
    ),
    Mutant(
        "foreign-mark-kept",
        "a packet that is no IP keeps whatever mark another hook gave it",
        (_PROGRAMS,),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	skb->mark = 0;\n	if (!config)\n",
                "	if (!config)\n",
            ),
        ),
    ),
    Mutant(
        "map-entries-swapped",
        "the map has the addresses of FIB 1 as those of FIB 2, and the other way round",
        (f"{_REACH}::test_client_is_served_at_its_own_server_addresses",),
        (
            Patch(
                "desired.py",
                "        maps.addresses[map_key(entry.ip)] = number\n",
                "        maps.addresses[map_key(entry.ip)] = struct.pack(\n"
                '            "=I", {1: 2, 2: 1}.get(fib.id, fib.id)\n        )\n',
            ),
        ),
    ),
    Mutant(
        "map-entry-stale",
        "an address that moves to another FIB keeps its entry in the map",
        ("routing/test_addresses.py::test_address_moves_to_another_tenant",),
        (
            Patch(
                "change.py",
                "for key, value in wanted.items() if found.get(key) != value}",
                "for key, value in wanted.items() if key not in found}",
            ),
            # What is there afterwards is not looked at, either.
            Patch("apply.py", "            if left:\n", "            if left is None:\n"),
        ),
    ),
    Mutant(
        "map-entry-left",
        "an address that is given up keeps its entry in the map",
        ("routing/test_addresses.py::test_address_given_up_may_be_a_clients",),
        (
            Patch(
                "change.py",
                "        old = found.keys() - wanted\n",
                "        old = found.keys() - found\n",
            ),
        ),
    ),
    Mutant(
        "connections-outlive-move",
        "connections to an address go on when it moves to another FIB",
        ("routing/test_addresses.py::test_address_moves_to_another_tenant",),
        (
            Patch(
                "apply.py",
                "    if not gone and not changed:\n        return 0\n",
                "    if not gone:\n        return 0\n",
            ),
        ),
    ),
    Mutant(
        "interface-fib-ignored",
        "addresses without a FIB are in none, instead of the interface's",
        (f"{_REACH}::test_address_without_fib_takes_that_of_its_interface",),
        (
            Patch(
                "bpf/maps.h",
                "*known == FIB_OF_INTERFACE ? config->interface_fib : *known",
                "*known == FIB_OF_INTERFACE ? 0 : *known",
            ),
        ),
    ),
    Mutant(
        "local-first",
        "the stock `local` table stands before the tenants' rules",
        ("isolation/test_owners.py",),
        (
            Patch(
                "rules.py",
                "        Rule(family, 0, NOTHING),\n",
                "        Rule(family, 0, NOTHING),\n        stock_local_rule(family),\n",
            ),
        ),
    ),
    Mutant(
        "unknown-fib-falls-through",
        "a FIB that nobody has ends in the machine's own tables",
        ("isolation/test_threads.py::test_fib_without_tenant_reaches_nobody",),
        (
            Patch(
                "rules.py",
                "        Rule(family, _MARK_ROOT + 1, UNREACHABLE),\n",
                "        Rule(family, _MARK_ROOT + 1, TO_TABLE, table=_LOCAL_TABLE),\n",
            ),
            Patch(
                "rules.py",
                "        yield Rule(family, child + 1, UNREACHABLE)\n",
                "        yield Rule(family, child + 1, TO_TABLE, table=_LOCAL_TABLE)\n",
            ),
        ),
    ),
    Mutant(
        "source-tree-missing",
        "IPv4 packets without a mark are never looked up by their source",
        (f"{_REACH}::test_udp_request_is_answered_from_the_address_it_was_sent_to",),
        (
            Patch(
                "rules.py",
                "        target = _REST if is_empty else _SOURCE_ROOT\n",
                "        target = _REST\n",
            ),
        ),
    ),
    Mutant(
        "source-tree-crossed",
        "IPv4 packets by source are looked up in the next tenant's table",
        (f"{_REACH}::test_udp_request_is_answered_from_the_address_it_was_sent_to",),
        (
            Patch(
                "rules.py",
                "table = TABLE_BASE + self._sources[address]\n",
                "table = TABLE_BASE + self._sources[address] % 3 + 1\n",
            ),
        ),
    ),
    Mutant(
        "source-table-missing",
        "IPv6 packets without a mark are never routed by their source",
        (f"{_REACH}::test_udp_request_is_answered_from_the_address_it_was_sent_to",),
        (Patch("rules.py", "mask=_ALL_BITS, table=SOURCE_TABLE", "mask=_ALL_BITS, table=254"),),
    ),
    Mutant(
        "source-not-preferred",
        "a FIB sends from its last address instead of the first",
        ("routing/test_sources.py",),
        (
            Patch(
                "desired.py",
                "        preferred.setdefault(version, packed)\n",
                "        preferred[version] = packed\n",
            ),
        ),
    ),
    Mutant(
        "next-hop-shared",
        "all FIBs have the first one's router as their next hop",
        ("routing/test_sources.py",),
        (
            Patch(
                "desired.py",
                '            route.via or b"",\n',
                "            next(\n"
                "                (\n"
                "                    other.via\n"
                "                    for other in document.fibs[0].routes\n"
                "                    if route.via and other.via and other.to.version == version\n"
                "                ),\n"
                '                b"",\n'
                "            ),\n",
            ),
        ),
    ),
    Mutant(
        "local-route-missing",
        "a FIB's table lacks the local routes of its IPv6 addresses",
        (f"{_REACH}::test_client_is_served_at_its_own_server_addresses",),
        (
            Patch(
                "desired.py",
                "        preferred.setdefault(version, packed)\n",
                "        preferred.setdefault(version, packed)\n"
                "        if version == 6:\n            continue\n",
            ),
        ),
    ),
    Mutant(
        "hairpin-unchecked",
        "a packet with a source address of our own is taken for a client's",
        (f"{_GUARDS}::test_packet_with_a_source_of_our_own_is_not_heard",),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	return source_fib == fib || !fib_has_router(fib, frame->source_mac);\n",
                "	return false;\n",
            ),
        ),
    ),
    Mutant(
        "owner-refused",
        "a client that owns the number of another FIB's address is taken for a hairpin",
        ("isolation/test_owners.py",),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	return source_fib == fib || !fib_has_router(fib, frame->source_mac);\n",
                "	return true;\n",
            ),
        ),
    ),
    Mutant(
        "sender-unchecked",
        "a FIB takes packets from any router",
        (f"{_SPOOFING}::test_forged_frame_is_dropped_and_counted",),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	if (fib && (config->flags & FIB_STRICT_MAC) &&",
                "	if (!fib && (config->flags & FIB_STRICT_MAC) &&",
            ),
        ),
    ),
    Mutant(
        "strict-mac-not-set",
        "the configuration does not ask for the check of senders",
        (f"{_SPOOFING}::test_forged_frame_is_dropped_and_counted",),
        (
            Patch(
                "desired.py",
                "    flags = bpfmap.STRICT_MAC if document.strict_mac else 0\n",
                "    flags = 0\n",
            ),
        ),
    ),
    Mutant(
        "foreign-error-believed",
        "an ICMP error may quote another FIB's flow",
        (f"{_GUARDS}::test_error_about_another_tenants_flow_is_not_believed",),
        (
            Patch(
                "bpf/ingress.bpf.c",
                "	return quoted_fib == fib ? TC_ACT_OK : drop(FIB_DROP_FOREIGN_ICMP);\n",
                "	return TC_ACT_OK;\n",
            ),
        ),
    ),
    Mutant(
        "guard-removed",
        "no frame is judged on its way out",
        (f"{_GUARDS}::test_forced_interface_leads_to_no_other_tenant",),
        (
            Patch(
                "bpf/egress.bpf.c",
                "	if (config->flags & FIB_GUARD_OFF)\n",
                "	if (!(config->flags & FIB_GUARD_OFF))\n",
            ),
        ),
    ),
    Mutant(
        "guard-without-routers",
        "a frame may leave to another FIB's router",
        (f"{_GUARDS}::test_forced_interface_leads_to_no_other_tenant",),
        (
            Patch(
                "bpf/egress.bpf.c",
                "	return judge_neighbour(&frame, source_fib);\n",
                "	return skb->mark == ~0u ? judge_neighbour(&frame, source_fib) : TC_ACT_OK;\n",
            ),
        ),
    ),
    Mutant(
        "guard-blind-to-fib-0",
        "what FIB 0 sends may go to a tenant's router",
        (f"{_GUARDS}::test_forced_interface_leads_to_no_other_tenant",),
        (
            Patch(
                "bpf/egress.bpf.c",
                "		return fib_has_router(FIB_ANY, frame->destination_mac) ?\n"
                "			       drop(FIB_DROP_GUARD_ROUTER) : TC_ACT_OK;\n",
                "		return TC_ACT_OK;\n",
            ),
        ),
    ),
    Mutant(
        "guard-without-source",
        "a frame may leave with a source address of another FIB than its socket's",
        (f"{_GUARDS}::test_borrowed_source_does_not_leave",),
        (
            Patch(
                "bpf/egress.bpf.c",
                "	if (skb->mark && skb->mark != source_fib)\n"
                "		return drop(FIB_DROP_GUARD_SOURCE);\n",
                "",
            ),
        ),
    ),
    Mutant(
        "server-forwards",
        "the server forwards packets that are not for it",
        (f"{_GUARDS}::test_server_forwards_nothing",),
        (
            Patch(
                "sysctls.py",
                '    "ipv4/conf/{}/forwarding": "0",\n',
                '    "ipv4/conf/{}/forwarding": "1",\n',
            ),
        ),
    ),
    Mutant(
        "fragments-counted-by-peer",
        "fragments of all tenants' clients of one number count together",
        ("isolation/test_noise.py::test_fragments_of_a_neighbour_cost_nobody_a_datagram",),
        (Patch("sysctls.py", '"ipv4/ipfrag_max_dist": "0"', '"ipv4/ipfrag_max_dist": "64"'),),
    ),
    Mutant(
        "redirects-believed",
        "a router's ICMP redirect changes the FIB's route",
        (f"{_GUARDS}::test_redirect_changes_no_route",),
        (
            Patch(
                "sysctls.py",
                '    "ipv4/conf/{}/accept_redirects": "0",\n',
                '    "ipv4/conf/{}/accept_redirects": "1",\n',
            ),
            Patch(
                "sysctls.py",
                '    "ipv4/conf/all/accept_redirects": "0",\n',
                '    "ipv4/conf/all/accept_redirects": "1",\n',
            ),
        ),
    ),
    Mutant(
        "advertisements-believed",
        "a router's advertisement gives the server a default route",
        (f"{_GUARDS}::test_router_advertisement_gives_nobody_a_route",),
        (
            Patch(
                "sysctls.py",
                '    "ipv6/conf/{}/accept_ra": "0",\n',
                '    "ipv6/conf/{}/accept_ra": "1",\n',
            ),
        ),
    ),
    Mutant(
        "accepted-mark-lost",
        "tcp_fwmark_accept=0: an accepted socket has no mark",
        (f"{_SOCKETS}::test_accepting_thread_takes_the_connections_fib_if_asked",),
        (Patch("sysctls.py", '"ipv4/tcp_fwmark_accept": "1"', '"ipv4/tcp_fwmark_accept": "0"'),),
    ),
)
