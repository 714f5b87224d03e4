/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The maps that several objects share. Pinned by name under /sys/fs/bpf/fib/v1: they outlive the
 * programs, so an upgrade never leaves traffic without its FIB. A change of layout changes "v1"; a new
 * map does not.
 *
 * Byte order: FIBs, marks, flags and counters as the host has them; addresses and MACs as on the wire.
 * Hash maps are filled without preallocation: an entry costs its key, its value and 48 bytes.
 */
#ifndef FIB_MAPS_H
#define FIB_MAPS_H

#include "kernel.h"
#include "shared.h"
#include "../fib.h"

#define FIB_MAP_ENTRIES (FIB_MAX + 1)

/* Own address -> its FIB.
 * Key: struct fib_address, 16 bytes. Value: 4 bytes, a FIB, FIB_OF_INTERFACE, or 0 for the anchors
 * (desired.py). Entries: two for each FIB there can be, 131,072.
 * Writer: fibctl. Readers: ingress, egress, bind, getsockopt, lookup, hear. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct fib_address);
	__type(value, __u32);
	__uint(max_entries, 2 * FIB_MAP_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_addr SEC(".maps");

/* FIB -> what it has; absent: not configured.
 * Key: 4 bytes. Value: struct fib_state, 36 bytes. Entries: 65,536.
 * Writer: fibctl. Readers: egress, bind, connect, lookup. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct fib_state);
	__uint(max_entries, FIB_MAP_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_states SEC(".maps");

/* Neighbours: (FIB, MAC), and (FIB_ANY, MAC) for "of some FIB".
 * Key: struct fib_router, 12 bytes. Value: 4 bytes, 1. Entries: two routers a FIB, 262,144.
 * Writer: fibctl. Readers: ingress, egress. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct fib_router);
	__type(value, __u32);
	__uint(max_entries, 4 * FIB_MAP_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_routers SEC(".maps");

/* Settings.
 * Key: 4 bytes, 0. Value: struct fib_config, 40 bytes; all zero is the safe state. Entries: 1.
 * Writer: fibctl. Readers: all. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct fib_config);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_config SEC(".maps");

/* Packets dropped, by reason.
 * Key: 4 bytes, enum fib_drop. Value: 8 bytes a CPU. Entries: 32, of which FIB_DROP_REASONS are used.
 * Writers: ingress, egress, hear. Reader: fibctl. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, FIB_COUNTERS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_counters SEC(".maps");

static __always_inline struct fib_config *fib_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fib_config, &zero);
}

static __always_inline void fib_map_ipv4(struct fib_address *address, __be32 ipv4)
{
	address->words[0] = 0;
	address->words[1] = 0;
	address->words[2] = bpf_htonl(0xffff);
	address->words[3] = ipv4;
}

/* The FIB of an own address; false when the address is not known to be ours. */
static __always_inline bool fib_of_own(const struct fib_config *config,
				       const struct fib_address *address, __u32 *fib)
{
	__u32 *known = bpf_map_lookup_elem(&fib_addr, address);

	if (!known)
		return false;
	*fib = *known == FIB_OF_INTERFACE ? config->interface_fib : *known;
	return true;
}

/* Unspecified, multicast, broadcast and link-local addresses belong to FIB 0 (row 51). */
static __always_inline bool fib_is_of_link(const struct fib_address *address)
{
	const __u8 *bytes = address->bytes;
	const __u32 *words = address->words;

	if (words[0] || words[1])
		return bytes[0] == 0xff || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
	if (words[2] == bpf_htonl(0xffff))
		return (bytes[12] & 0xf0) == 0xe0 || (bytes[12] == 169 && bytes[13] == 254) ||
		       words[3] == 0xffffffff || words[3] == 0;
	return words[2] == 0 && words[3] == 0;
}

static __always_inline bool fib_has_router(__u32 fib, const __u8 *mac)
{
	struct fib_router key = { .fib = fib };

	__builtin_memcpy(key.mac, mac, 6);
	return bpf_map_lookup_elem(&fib_routers, &key);
}

static __always_inline void fib_count(enum fib_drop reason)
{
	__u32 key = reason;
	__u64 *count = bpf_map_lookup_elem(&fib_counters, &key);

	if (count)
		(*count)++;
}

#endif
