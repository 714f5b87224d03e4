/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The few kernel types the programs look into, declared by hand: libbpf relocates each access
 * by the running kernel's BTF (CO-RE), so only names and kinds of the fields matter here.
 */
#ifndef FIB_KERNEL_H
#define FIB_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net {
	__u64 net_cookie;
};

struct nsproxy {
	struct net *net_ns;
};

typedef struct {
	__u32 cap[2]; /* one u64 from 6.3 on */
} kernel_cap_t;

struct cred {
	kernel_cap_t cap_effective;
};

struct task_struct {
	unsigned int flags;
	int pid;
	const struct cred *cred;
	struct nsproxy *nsproxy;
	struct task_struct *group_leader;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	unsigned short skc_family;
	unsigned short skc_num;
	unsigned char skc_ipv6only : 1;
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	__u32 sk_mark;
	__u16 sk_type;
	__u16 sk_protocol;
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct mptcp_sock {
	struct inet_connection_sock sk;
};

struct socket {
	short type;
	struct sock *sk;
};

struct msghdr {
	void *msg_name;
	unsigned int msg_flags;
	void *msg_control;
	unsigned long msg_controllen;
};

struct cmsghdr {
	unsigned long cmsg_len; /* header and data, without what fills up to the next */
	int cmsg_level;
	int cmsg_type;
};

#pragma clang attribute pop

/* From the kernel's sched.h, socket.h, capability.h, errno.h, in.h, if_ether.h: user-space headers clash with libbpf's. */
#define PF_IO_WORKER 0x10
#define AF_INET 2
#define AF_INET6 10
#define AF_UNIX 1
#define AF_NETLINK 16
#define AF_ALG 38
#define SOCK_STREAM 1
#define SOCK_RAW 3
#define SOL_SOCKET 1
#define SO_MARK 36
#define MSG_BATCH 0x40000 /* the kernel's own, at all but the last datagram of a sendmmsg */
#define CAP_NET_ADMIN 12
#define CAP_NET_RAW 13
#define SO_REUSEPORT 15
#define SO_REUSEADDR 2
#define SOCK_DGRAM 2
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_SCTP 132
#define SCTP_SOCKOPT_BINDX_ADD 100
#define IPPROTO_IPV6 41
#define IPV6_V6ONLY 26
#define EPERM 1
#define ENOMEM 12
#define EINVAL 22
#define ENOSYS 38
#define EADDRINUSE 98
#define EADDRNOTAVAIL 99
#define ENETUNREACH 101
#define EISCONN 106
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define IPPROTO_ICMP 1
#define IPPROTO_IGMP 2
#define IPPROTO_ICMPV6 58

#endif
