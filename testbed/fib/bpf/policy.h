/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Policies of the current task's cgroups (pure v2): every jailed ancestor must allow a FIB.
 */
#ifndef FIB_POLICY_H
#define FIB_POLICY_H

#include "maps.h"

#define CGROUP_LEVELS 12 /* deeper ones are judged by their ancestors */

/* What holds for a cgroup and all below it.
 * Key: 8 bytes, its id. Value: struct fib_policy, 4 bytes. Entries: 4,096.
 * Writer: fibctl policy. Readers: below. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u64);
	__type(value, struct fib_policy);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_policies SEC(".maps");

/* What a jailed cgroup may use.
 * Key: struct fib_permit, 16 bytes. Value: 4 bytes, 1. Entries: 262,144.
 * Writer: fibctl policy. Reader: below. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct fib_permit);
	__type(value, __u32);
	__uint(max_entries, 4 * FIB_MAP_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fib_allowed SEC(".maps");

static __always_inline bool has_policies(void)
{
	const struct fib_config *config = fib_settings();

	return config && (config->flags & FIB_POLICIES);
}

/* All flags that hold for the current task. */
static __always_inline __u32 current_policy(void)
{
	__u32 flags = 0;

	if (!has_policies())
		return 0;
	for (int level = 0; level < CGROUP_LEVELS; level++) {
		__u64 cgroup = bpf_get_current_ancestor_cgroup_id(level);
		const struct fib_policy *policy;

		if (!cgroup)
			break;
		policy = bpf_map_lookup_elem(&fib_policies, &cgroup);
		if (policy)
			flags |= policy->flags;
	}
	return flags;
}

/* Whether the current task may use a FIB. */
static __always_inline bool may_use(__u32 fib)
{
	if (!has_policies())
		return true;
	for (int level = 0; level < CGROUP_LEVELS; level++) {
		struct fib_permit permit = { .fib = fib };
		const struct fib_policy *policy;

		permit.cgroup = bpf_get_current_ancestor_cgroup_id(level);
		if (!permit.cgroup)
			break;
		policy = bpf_map_lookup_elem(&fib_policies, &permit.cgroup);
		if (policy && (policy->flags & FIB_JAIL) &&
		    !bpf_map_lookup_elem(&fib_allowed, &permit))
			return false;
	}
	return true;
}

#endif
