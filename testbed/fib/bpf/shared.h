/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Structs and numbers shared by the eBPF programs and user space (bpfmap.py mirrors them).
 * Integers are in host byte order, addresses and MACs as they are on the wire.
 */
#ifndef FIB_SHARED_H
#define FIB_SHARED_H

#include <linux/types.h>

/* An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d: one map serves both families. */
struct fib_address {
	union {
		__u8 bytes[16];
		__u32 words[4];
	};
};

/* Value of an own address that has no FIB of its own: it follows the interface FIB. */
#define FIB_OF_INTERFACE 0xffffffffu

/* What a configured FIB has. */
#define FIB_HAS_IPV4 1u
#define FIB_HAS_IPV6 2u
#define FIB_HAS_ROUTERS 4u /* its neighbours' MACs are known: frames are checked against them */

struct fib_state {
	__u32 flags;
	struct fib_address ipv4; /* preferred source address, where there is one */
	struct fib_address ipv6;
};

/* A neighbour of a FIB. FIB_ANY: that MAC is a neighbour of at least one FIB. */
#define FIB_ANY 0xffffffffu

struct fib_router {
	__u32 fib;
	__u8 mac[6];
	__u16 zero;
};

/* The one entry of fib_config. All zero is the safe state: guard on, interface in FIB 0. */
#define FIB_STRICT_MAC 1u /* drop what does not come from a neighbour of the destination's FIB */
#define FIB_GUARD_OFF 2u  /* negative control: let every frame out */
#define FIB_THREAD_LEAK 4u /* negative control: a thread's FIB is that of its whole process */
#define FIB_ACTIVE 8u /* there are FIBs: wildcard sockets must leave room for theirs */

#define FIB_POLICIES 16u /* some cgroup has a policy */
#define FIB_WORKER_LEAK 32u /* negative control: accept() sets the FIB of a worker of io_uring, too */

struct fib_config {
	__u32 interface_fib;
	__u32 flags;
	struct fib_address resolver_ipv4; /* virtual resolver addresses; all zero: none */
	struct fib_address resolver_ipv6;
};

/* Key of fib_resolvers: value is the address that the virtual one stands for in this FIB. */
struct fib_resolver {
	__u32 fib;
	__u32 family;
};

/* Value of fib_policies: what holds for a cgroup (key: its id) and all below it. */
#define FIB_ACCEPT_SETS_THREAD 1u
#define FIB_JAIL 2u /* only the FIBs in fib_allowed */

struct fib_policy {
	__u32 flags;
};

/* Key of fib_allowed: a jailed cgroup may use this FIB. */
struct fib_permit {
	__u64 cgroup;
	__u32 fib;
	__u32 zero;
};

/* Why a frame was dropped: index of fib_counters. New ones come last: the map outlives programs. */
enum fib_drop {
	FIB_DROP_HAIRPIN,       /* in: source is an address of ours (P31) */
	FIB_DROP_SENDER,        /* in: strict MAC, not a neighbour of the destination's FIB (P24) */
	FIB_DROP_FOREIGN_ICMP,  /* in: ICMP error that quotes another FIB's flow (P23) */
	FIB_DROP_MALFORMED,     /* in: too short or too nested to be judged */
	FIB_DROP_GUARD_SOURCE,  /* out: mark and FIB of the source address differ (P33) */
	FIB_DROP_GUARD_ROUTER,  /* out: destination MAC is no neighbour of the FIB (P33) */
	FIB_DROP_GUARD_NO_FIB,  /* out: the FIB is not configured (P33) */
	FIB_DROP_INTERFACE,     /* in: for a FIB's address, but not by the FIBs' interface (row 39) */
	FIB_DROP_ONLY,          /* in: of a FIB, for a socket that hears FIB 0 alone (row 17) */
	FIB_DROP_REASONS,
};

#define FIB_COUNTERS 32 /* room for more reasons without another layout */

/* Who listens on a port at any address: key and value of fib_listeners. */
struct fib_listener {
	__u32 fib;
	__u16 port; /* host byte order */
	__u8 protocol;
	__u8 family;
};

#define FIB_ALONE 0  /* sockets that would not share the port */
#define FIB_SHARED 1 /* sockets that asked for it themselves */

struct fib_holders {
	__u32 count[2];
};

/* Value of fib_task: the default FIB of a thread. */
struct fib_task {
	__u32 fib;
};

#endif
