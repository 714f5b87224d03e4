// SPDX-License-Identifier: BSD-2-Clause
/* tc ingress: gives every packet the FIB of its destination address as its mark, and drops what
 * would carry one tenant's word into another's FIB.
 *
 * The mark then chooses the rule (and so the table) of the reply: tcp_fwmark_accept hands it to
 * accepted sockets, fwmark_reflect to RST and ICMP.
 */
#include "frame.h"

#define TC_ACT_OK 0
#define TC_ACT_SHOT 2

static __always_inline int drop(enum fib_drop reason)
{
	fib_count(reason);
	return TC_ACT_SHOT;
}

/* P31. The same header comes from a client that rightly owns the number of another FIB's address
 * and from a router that sends our own packet back: only the router's MAC tells them apart. */
static __always_inline bool is_hairpin(const struct fib_config *config, const struct frame *frame,
				       __u32 fib)
{
	__u32 source_fib;

	if (!fib_of_own(config, &frame->source, &source_fib))
		return false;
	return source_fib == fib || !fib_has_router(fib, frame->source_mac);
}

/* Whether the type announces an ICMP error: its body is the packet that caused it. */
static __always_inline bool is_icmp_error(const struct frame *frame, __u8 type)
{
	if (frame->protocol == IPPROTO_ICMPV6)
		return type < 128;
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/* P23. The kernel matches an ICMP error to a socket by the packet it quotes, so that packet must
 * have been sent from the FIB the error is addressed to. A fragment cannot be judged, and no
 * router fragments its errors: dropped. */
static __always_inline int judge_icmp(struct __sk_buff *skb, const struct fib_config *config,
				      const struct frame *frame, __u32 fib)
{
	struct fib_address quoted;
	__u32 quoted_fib = config->interface_fib;
	__be32 ipv4;
	__u8 type;

	if (bpf_skb_load_bytes(skb, frame->offset, &type, 1))
		return drop(FIB_DROP_MALFORMED);
	if (!is_icmp_error(frame, type))
		return TC_ACT_OK;
	if (frame->more_fragments)
		return drop(FIB_DROP_MALFORMED);
	if (frame->protocol == IPPROTO_ICMPV6) {
		if (bpf_skb_load_bytes(skb, frame->offset + 8 + 8, &quoted, sizeof(quoted)))
			return drop(FIB_DROP_MALFORMED);
	} else {
		if (bpf_skb_load_bytes(skb, frame->offset + 8 + 12, &ipv4, sizeof(ipv4)))
			return drop(FIB_DROP_MALFORMED);
		fib_map_ipv4(&quoted, ipv4);
	}
	fib_of_own(config, &quoted, &quoted_fib);
	return quoted_fib == fib ? TC_ACT_OK : drop(FIB_DROP_FOREIGN_ICMP);
}

SEC("tc")
int fib_ingress(struct __sk_buff *skb)
{
	const struct fib_config *config = fib_settings();
	struct frame frame = {};
	bool is_own;
	__u32 fib = 0;

	/* A mark of another hook must not choose a FIB. */
	skb->mark = 0;
	if (!config)
		return TC_ACT_SHOT;
	switch (frame_read(skb, &frame)) {
	case FRAME_NOT_IP:
		return TC_ACT_OK;
	case FRAME_BAD:
		return drop(FIB_DROP_MALFORMED);
	case FRAME_IP:
		break;
	}
	is_own = fib_of_own(config, &frame.destination, &fib);
	if (is_own && !fib && config->interface_fib)
		return drop(FIB_DROP_SENDER); /* an anchor: FIB 0's own, nobody's to talk to */
	if (!is_own && !fib_is_of_link(&frame.destination))
		fib = config->interface_fib;
	skb->mark = fib;
	if (is_hairpin(config, &frame, fib))
		return drop(FIB_DROP_HAIRPIN);
	if (fib && (config->flags & FIB_STRICT_MAC) && !fib_has_router(fib, frame.source_mac))
		return drop(FIB_DROP_SENDER);
	if ((frame.protocol == IPPROTO_ICMP || frame.protocol == IPPROTO_ICMPV6) &&
	    !frame.later_fragment)
		return judge_icmp(skb, config, &frame, fib);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
