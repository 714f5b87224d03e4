/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Reading of a frame at tc. bpf_skb_load_bytes checks bounds and works on paged data as well.
 */
#ifndef FIB_FRAME_H
#define FIB_FRAME_H

#include "maps.h"

#define ETHERNET_BYTES 14
#define IPV4_BYTES 20
#define IPV6_BYTES 40
#define EXTENSION_HEADERS 8 /* more than any real packet; what nests deeper is dropped */

struct frame {
	__u8 destination_mac[6];
	__u8 source_mac[6];
	struct fib_address source;
	struct fib_address destination;
	__u32 offset;  /* of the transport header */
	__u8 protocol; /* of the transport header, or of the extension header where it is no first
			* fragment */
	bool later_fragment;
	bool more_fragments;
};

enum frame_kind {
	FRAME_NOT_IP, /* ARP and the like: no FIB */
	FRAME_IP,
	FRAME_BAD,
};

static __always_inline enum frame_kind frame_read_ipv4(struct __sk_buff *skb, struct frame *frame)
{
	__u8 header[IPV4_BYTES];
	__u16 fragment;
	__be32 address;

	if (bpf_skb_load_bytes(skb, ETHERNET_BYTES, header, sizeof(header)))
		return FRAME_BAD;
	if ((header[0] & 0x0f) < 5)
		return FRAME_BAD;
	fragment = (__u16)(header[6] << 8 | header[7]);
	frame->later_fragment = fragment & 0x1fff;
	frame->more_fragments = fragment & 0x2000;
	frame->protocol = header[9];
	frame->offset = ETHERNET_BYTES + (header[0] & 0x0f) * 4;
	__builtin_memcpy(&address, &header[12], 4);
	fib_map_ipv4(&frame->source, address);
	__builtin_memcpy(&address, &header[16], 4);
	fib_map_ipv4(&frame->destination, address);
	return FRAME_IP;
}

/* Step over extension headers (RFC 8200 section 4); each says how long it is. */
static __always_inline enum frame_kind frame_skip_extensions(struct __sk_buff *skb,
							     struct frame *frame)
{
	for (int i = 0; i < EXTENSION_HEADERS; i++) {
		__u8 header[4];
		__u8 protocol = frame->protocol;

		if (protocol != 0 && protocol != 43 && protocol != 44 && protocol != 51 &&
		    protocol != 60)
			return FRAME_IP;
		if (bpf_skb_load_bytes(skb, frame->offset, header, sizeof(header)))
			return FRAME_BAD;
		if (protocol == 44) {
			frame->later_fragment = header[2] || (header[3] & 0xf8);
			frame->more_fragments = header[3] & 1;
			if (frame->later_fragment)
				return FRAME_IP;
			frame->offset += 8;
		} else if (protocol == 51) {
			frame->offset += (header[1] + 2) * 4;
		} else {
			frame->offset += (header[1] + 1) * 8;
		}
		frame->protocol = header[0];
	}
	return FRAME_BAD;
}

static __always_inline enum frame_kind frame_read_ipv6(struct __sk_buff *skb, struct frame *frame)
{
	__u8 header[IPV6_BYTES];

	if (bpf_skb_load_bytes(skb, ETHERNET_BYTES, header, sizeof(header)))
		return FRAME_BAD;
	frame->protocol = header[6];
	frame->offset = ETHERNET_BYTES + IPV6_BYTES;
	__builtin_memcpy(&frame->source, &header[8], 16);
	__builtin_memcpy(&frame->destination, &header[24], 16);
	return frame_skip_extensions(skb, frame);
}

static __always_inline enum frame_kind frame_read(struct __sk_buff *skb, struct frame *frame)
{
	__u8 macs[12];

	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return FRAME_NOT_IP;
	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
		return FRAME_BAD;
	__builtin_memcpy(frame->destination_mac, macs, 6);
	__builtin_memcpy(frame->source_mac, &macs[6], 6);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return frame_read_ipv4(skb, frame);
	return frame_read_ipv6(skb, frame);
}

#endif
