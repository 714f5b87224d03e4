/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The maps that several objects share. Pinned by name under /sys/fs/bpf/fib/v1: they outlive the
 * programs, so an upgrade never leaves traffic without its FIB. A change of layout changes "v1".
 */
#ifndef FIB_MAPS_H
#define FIB_MAPS_H

#include "kernel.h"
#include "shared.h"
#include "../fib.h"

#define FIB_MAP_ENTRIES (FIB_MAX + 1)

/* Own address -> its FIB, FIB_OF_INTERFACE, or 0 for the anchors (desired.py). Writer: fibctl. Readers: all data path programs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct fib_address);
	__type(value, __u32);
	__uint(max_entries, 2 * FIB_MAP_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_addr SEC(".maps");

/* FIB -> what it has; absent: not configured. Writer: fibctl. Readers: egress guard, connect. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct fib_state);
	__uint(max_entries, FIB_MAP_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_states SEC(".maps");

/* (FIB, MAC) of each neighbour, and (FIB_ANY, MAC). Writer: fibctl. Readers: ingress, egress. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct fib_router);
	__type(value, __u32);
	__uint(max_entries, 4 * FIB_MAP_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_routers SEC(".maps");

/* Entry 0: settings of the interface. Writer: fibctl. Readers: all. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct fib_config);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_config SEC(".maps");

/* enum fib_drop -> frames dropped, one counter a CPU. Writers: ingress, egress. Reader: fibctl. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, FIB_DROP_REASONS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_drops SEC(".maps");

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
	__u64 *count = bpf_map_lookup_elem(&fib_drops, &key);

	if (count)
		(*count)++;
}

#endif
