"""What the specification demands, and where each part of it is shown: pure data.

`ROWS` and `PITFALLS` name every row and pitfall. One that no test of this suite is named after is
shown by another's tests (`SAME_AS`) or by a scenario or unit test (`ELSEWHERE`). A unit test keeps
these complete and free of what has been done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ROWS: Final = {
    "1": "socket() has the FIB of its thread, at once",
    "2": "AF_UNIX and AF_NETLINK sockets are untouched",
    "3": "setting a thread's FIB changes no other thread",
    "4": "a number out of range is EINVAL and changes nothing",
    "5": "a FIB without tenant: ENETUNREACH, no fall-through to FIB 0",
    "6": "a fork has the forking thread's FIB",
    "7": "a new thread has its creator's FIB",
    "8": "exec keeps the calling thread's FIB",
    "9": "a recycled thread id starts with its creator's FIB",
    "10": "SO_SETFIB before bind overrides the thread's FIB",
    "11": "SO_SETFIB after bind to another FIB: EISCONN",
    "12": "SO_SETFIB on a connected socket: EISCONN",
    "13": "SO_SETFIB on a listening socket: EISCONN",
    "14": "SO_SETFIB with a bad value: EINVAL",
    "15": "SO_SETFIB needs no privilege",
    "16": "bind to any address in FIB k: reached by FIB k alone, beside other FIBs on the port",
    "17": "bind to any address in FIB 0: one listener for all FIBs, also later ones",
    "18": "a FIB's own listener wins, the wildcard gets the rest",
    "19": "bind to an address of the own FIB",
    "20": "bind to another FIB's address: EADDRNOTAVAIL; from FIB 0: takes the address's FIB",
    "21": "an accepted socket has the FIB of its local address",
    "22": "the SYN-ACK goes by that FIB and no other",
    "23": "accept() does not change the thread's FIB",
    "24": "connect() unbound: the FIB's table and an address of the FIB as source",
    "25": "connect() after bind to a local address: the FIB of the address",
    "26": "connect() to another tenant's server address is never delivered locally",
    "27": "one destination from all FIBs at once: each reaches its own server",
    "28": "UDP questions to one address from all FIBs: each gets its own answer",
    "29": "a wildcard UDP server hears all FIBs and learns the address",
    "30": "its reply without a source named fails, and reaches nobody",
    "31": "its reply with a source named goes by that address's FIB",
    "32": "SO_REUSEPORT groups balance inside one FIB",
    "33": "a raw socket hears its own FIB, a wildcard one all",
    "34": "echo is answered in the FIB of the address",
    "35": "a closed port answers with RST in the FIB of the address",
    "36": "ICMP errors are sent in the FIB of the address",
    "37": "an ICMP error is accepted only by the FIB of the flow that it quotes",
    "38": "a path MTU is learned for one tenant alone",
    "39": "one address in two FIBs is refused, with the owner's name",
    "40": "an address without FIB follows the interface",
    "41": "an interface without FIB is FIB 0",
    "42": "an address added under a wildcard listener works at once",
    "43": "an address removed: connections resume in the same FIB, are reset in another",
    "44": "an address moved: its connections are aborted",
    "45": "a tenant deleted: its sockets are aborted, nobody else's; the number rests",
    "46": "a tenant added: milliseconds, no reload, nobody disturbed",
    "47": "a table holds its own tenant's routes alone",
    "48": "one gateway address in two FIBs is refused unless the MAC tells",
    "49": "the next hop is resolved per tenant, ARP asks with the tenant's address",
    "50": "SO_DONTROUTE stays in the FIB",
    "51": "broadcast, multicast and link-local are FIB 0's alone",
    "52": "sockets are listed with their FIB",
    "53": "the control process dies: traffic keeps its FIB, or fails",
    "54": "unmodified libraries, their helper threads too, are in the thread's FIB",
    "55": "no FIB configured: the system behaves as stock",
    "56": "a socket passed on keeps its FIB",
}

PITFALLS: Final = {
    "P1": "the local table comes before tenants' tables",
    "P2": "source validation looks up without the mark",
    "P3": "one neighbour entry for one next-hop address",
    "P4": "identical routes of two tables share a fib_info",
    "P5": "rules are scanned one by one",
    "P6": "bind conflicts know no FIB",
    "P7": "TCP metrics are kept by address",
    "P8": "path MTU exceptions hang on the next hop",
    "P9": "conntrack is keyed by the five addresses",
    "P10": "fragments of one source share a distance counter",
    "P11": "one ICMP rate limit for one peer address",
    "P12": "IP identification",
    "P13": "TIME-WAIT is keyed by the four addresses",
    "P14": "TCP timestamp offsets",
    "P15": "SYN cookies rebuild the request from the ACK",
    "P16": "TCP Fast Open's server cookie",
    "P17": "TCP Fast Open's client state is the host's",
    "P18": "any change of rules makes all sockets look up again",
    "P19": "ephemeral ports are shared",
    "P20": "source of an unbound outgoing socket",
    "P20b": "same destination from two FIBs at once",
    "P21": "UDP reply from a wildcard socket",
    "P22": "RST and ICMP errors leave by the main table",
    "P23": "an ICMP error quotes another tenant's flow",
    "P24": "the tenant is decided by the destination alone",
    "P25": "groups and broadcast have no tenant",
    "P26": "ARP for any address, from any address",
    "P27": "IPv6 neighbour discovery and router advertisements are per device",
    "P28": "one tenant uses up what all share",
    "P29": "user space caches know no tenant",
    "P30": "helper threads of libraries",
    "P31": "a router sends our own packet back",
    "P32": "distinct server addresses inside equal networks",
    "P33": "an output interface defeats routing",
    "P34": "getaddrinfo lists every local address",
    "P35": "the management network as a way out of FIB 0",
}

SAME_AS: Final = {
    "P6": "16",
    "P15": "21",
    "P18": "46",
    "P20": "24",
    "P20b": "27",
    "P21": "30",
    "P22": "35",
}
"""Shown by the tests of the other one: it is the same behaviour, by another name."""

ELSEWHERE: Final[dict[str, str]] = {
    "54": "scenarios/authentication/test_libraries.py",
    "P3": "testbed/tests/fib/test_document.py",
    "P5": "testbed/tests/fib/test_rules.py",
    "P29": "testbed/fib/conformance/test_policies.py",
    "P30": "scenarios/authentication/test_libraries.py",
}
"""Shown by a scenario or unit test of the project: its file."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What stock Linux cannot do."""

    subject: str
    what: str
    where: str
    """The kernel's file and function that forbid it."""
    close: str
    """How close the extensions come."""
    newer: str
    """What newer kernels would allow."""
    test: str = ""
    """The strict expected failure, here or in a scenario; none where it is a documented choice."""


GAPS: Final = (
    Gap(
        "16",
        "a FIB's wildcard UDP socket hears the FIB's preferred address alone",
        "kernel/bpf/verifier.c, may_update_sockmap",
        "complete for FIBs of one address; bind to the others by name",
        "none known: bpf_iter may put UDP sockets into a map, but only when user space runs it",
        "test_row_16_udp_socket_of_a_fib_hears_all_its_addresses",
    ),
    Gap(
        "16",
        "getsockname of a FIB's wildcard socket shows the preferred address",
        "net/ipv4/inet_connection_sock.c, inet_csk_bind_conflict",
        "the address is of the right FIB",
        "none: a mark is no part of bind conflicts in any version",
    ),
    Gap(
        "16",
        "a FIB's wildcard MPTCP listener hears the preferred address alone, a dual-stack one that of IPv6",
        "net/core/skmsg.c, sk_psock_init: no socket of an upper layer protocol is taken into a map",
        "complete for FIBs of one address of the family; bind to the others by name",
        "none known",
        "test_row_16_multipath_dual_stack_listener_of_a_fib",
    ),
    Gap(
        "jail",
        "sendfile and splice to a connected socket of another FIB, whose descriptor came from outside, pass",
        "fs/splice.c, pipe_to_sendpage; net/socket.c, sock_sendpage: no hook of LSM or cgroups",
        "every other way to send is refused, so is UDP over IPv6; lsm/file_permission sees these, but runs at "
        "each read and write of the system: half as much again for a byte under emulation",
        "6.5: splice_to_socket calls sock_sendmsg, whose hook refuses it",
        "test_jail_sendfile_and_splice_to_a_descriptor_from_outside",
    ),
    Gap(
        "18",
        "a FIB's UDP socket has no room beside a wildcard one whose port the kernel has chosen",
        "net/ipv4/udp.c, udp_lib_lport_inuse: with SO_REUSEPORT, which leaves the room, it would choose "
        "a port of another such socket",
        "TCP has it; UDP services have ports that their programs name, and there is room there",
        "none",
        "test_row_18_beside_a_wildcard_udp_socket_on_a_chosen_port",
    ),
    Gap(
        "20",
        "the first datagram of a FIB 0 socket whose bind to a FIB's address has failed is refused",
        "net/ipv4/udp.c, udp_sendmsg, and net/ipv6/udp.c, udpv6_sendmsg: the socket's mark is copied "
        "(ipcm_init_sk) before the hook that takes back what was lent; no hook sees a bind fail",
        "none leaves by that FIB; the next is of FIB 0; connect and listen are right at once",
        "none",
        "test_row_20_first_datagram_after_a_bind_that_failed",
    ),
    Gap(
        "36, P11",
        "the ICMP rate limit is shared by peers of one address",
        "net/ipv4/icmp.c, icmpv4_xrlim_allow",
        "what is sent is right; a tenant can use up the errors of another's client",
        "none: keyed by peer and l3mdev; a VRF a tenant would separate them",
        "test_p11_icmp_rate_limit_is_per_tenant",
    ),
    Gap(
        "54, P30",
        "getaddrinfo_a of one process in several FIBs",
        "not the kernel: glibc, resolv/gai_misc.c, __gai_enqueue_request gives a request to a helper "
        "thread that idles for up to a second after another's",
        "right where a process serves one FIB; all other resolvers are right in all threads",
        "none",
        "test_helper_threads_of_getaddrinfo_a_serve_one_fib",
    ),
    Gap(
        "P19",
        "UDP sockets that are not bound share the ports to choose from among all FIBs",
        "net/ipv4/af_inet.c, inet_autobind, before the route and so the source are known; then "
        "net/ipv4/udp.c, udp_lib_get_port, for any address",
        "a socket that is bound first, to any address and port 0, has the port of its FIB's own address; "
        "TCP's are told apart by the whole connection",
        "none",
        "test_p19_datagram_socket_that_is_not",
    ),
    Gap(
        "P28",
        "connections that the program has not accepted yet fill the one queue of a wildcard listener",
        "net/ipv4/tcp_input.c, tcp_conn_request, and tcp_ipv4.c, tcp_v4_syn_recv_sock: "
        "sk_acceptq_is_full of the one listener",
        "a program that accepts at once has none waiting; a FIB's own listener has its own queue; a "
        "flood of SYNs alone is met by SYN cookies",
        "none: the queue is the listener's in every version",
        "test_p28_accept_queue_is_per_tenant",
    ),
    Gap(
        "P34",
        "getaddrinfo with AI_ADDRCONFIG reads every local address at each call",
        "not the kernel: glibc, sysdeps/unix/sysv/linux/check_pf.c, __check_pf; the kernel's "
        "inet_dump_ifaddr (net/ipv4/devinet.c) has no filter that ends it at the first",
        "without that flag, as by default in Python, a call costs the same as ever",
        "none",
        "test_p34_families_there_are_cost_nothing",
    ),
    Gap(
        "51",
        "groups, broadcast and link-local addresses are FIB 0's",
        "no address tells the tenant",
        "a choice, as the specification has it",
        "none",
    ),
    Gap(
        "P31",
        "without routers' MACs a hairpin looks like a client that owns the number",
        "the two packets are the same but for the sender's MAC",
        "dropped, as the specification has it; both hold where MACs are known",
        "none",
    ),
)
