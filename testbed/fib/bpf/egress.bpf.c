// SPDX-License-Identifier: BSD-2-Clause
/* tc egress: the guard (P33). Routing alone is not fail-closed: SO_BINDTODEVICE, IP_UNICAST_IF
 * and IP_PKTINFO send to an interface without any route. So the mark, the FIB of the source
 * address and the neighbour a frame is addressed to must agree, else it is dropped and counted.
 */
#include "frame.h"

#define TC_ACT_OK 0
#define TC_ACT_SHOT 2
#define MLD_QUERY 130
#define MLD_DONE 132
#define ND_ROUTER_SOLICIT 133
#define ND_REDIRECT 137
#define MLD_REPORT_2 143

static __always_inline int drop(enum fib_drop reason)
{
	fib_count(reason);
	return TC_ACT_SHOT;
}

/* What the kernel says on the link on its own account, from whichever address it serves. Neighbour
 * discovery has no mark; in group reports the field holds something else while the packet is being
 * built (sk_buff shares it with reserved_tailroom), but they are of FIB 0. */
static __always_inline bool is_link_talk(struct __sk_buff *skb, const struct frame *frame,
					 __u32 source_fib)
{
	__u8 type;

	if (frame->protocol == IPPROTO_IGMP && !source_fib)
		return true;

	if (frame->protocol != IPPROTO_ICMPV6 || frame->later_fragment)
		return false;
	if (bpf_skb_load_bytes(skb, frame->offset, &type, 1))
		return false;
	if (type >= ND_ROUTER_SOLICIT && type <= ND_REDIRECT)
		return !skb->mark;
	return ((type >= MLD_QUERY && type <= MLD_DONE) || type == MLD_REPORT_2) &&
	       !source_fib;
}

/* A FIB that knows its neighbours sends to them alone; any other keeps off all known ones, and a
 * tenant's FIB sends nothing to a group (row 51). */
static __always_inline int judge_neighbour(const struct frame *frame, __u32 fib)
{
	const struct fib_state *state;

	if (!fib)
		return fib_has_router(FIB_ANY, frame->destination_mac) ?
			       drop(FIB_DROP_GUARD_ROUTER) : TC_ACT_OK;
	state = bpf_map_lookup_elem(&fib_states, &fib);
	if (!state)
		return drop(FIB_DROP_GUARD_NO_FIB);
	if (fib_has_router(fib, frame->destination_mac))
		return TC_ACT_OK;
	if ((state->flags & FIB_HAS_ROUTERS) || (frame->destination_mac[0] & 1) ||
	    fib_has_router(FIB_ANY, frame->destination_mac))
		return drop(FIB_DROP_GUARD_ROUTER);
	return TC_ACT_OK;
}

SEC("tc")
int fib_egress(struct __sk_buff *skb)
{
	const struct fib_config *config = fib_settings();
	struct frame frame = {};
	__u32 source_fib = 0;

	if (!config)
		return TC_ACT_SHOT;
	if (config->flags & FIB_GUARD_OFF)
		return TC_ACT_OK;
	switch (frame_read(skb, &frame)) {
	case FRAME_NOT_IP:
		return TC_ACT_OK;
	case FRAME_BAD:
		return drop(FIB_DROP_MALFORMED);
	case FRAME_IP:
		break;
	}
	if (!fib_of_own(config, &frame.source, &source_fib) && !fib_is_of_link(&frame.source))
		source_fib = config->interface_fib;
	if (is_link_talk(skb, &frame, source_fib))
		return TC_ACT_OK;
	if (skb->mark && skb->mark != source_fib)
		return drop(FIB_DROP_GUARD_SOURCE);
	return judge_neighbour(&frame, source_fib);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
