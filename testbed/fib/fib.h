/* SPDX-License-Identifier: BSD-2-Clause
 *
 * FIBs for C daemons: a default FIB per thread and a FIB per socket, without any capability.
 *
 * FIB 0 is "no FIB"; tenants have 1 to FIB_MAX. All functions return -1 and set errno on failure:
 *
 *   EINVAL         no such number, or a switch that is neither 0 nor 1; for threads also: the
 *                  extensions are not attached, or not in this network namespace
 *   EISCONN        the socket is bound or connected, in another FIB
 *   EPERM          a jail forbids the FIB (fibctl policy)
 *   EADDRNOTAVAIL  not a local address (fib_of_address)
 *   ENOMEM         no memory for the thread's or the socket's record
 *   ENOPROTOOPT, EOPNOTSUPP  for sockets: the extensions are not attached, not in this network
 *                  namespace, or the socket is neither IPv4 nor IPv6
 *
 * In a jail, socket(), connect(), bind(), listen() and all ways to send also fail with EPERM when the
 * socket's FIB is not allowed, and so does SO_MARK of a FIB that is not, by setsockopt() or as a control
 * message.
 */
#ifndef FIB_H
#define FIB_H

#define FIB_MAX 65535

/* prctl(PR_FIB, operation, argument). The kernel cannot return 0 here (a BPF LSM program that
 * returns 0 lets the default hook run, which ends in EINVAL), hence FIB + 1. */
#define PR_FIB 0x46494200
#define PR_FIB_GET 0 /* returns the calling thread's FIB + 1 */
#define PR_FIB_SET 1 /* argument: FIB; returns it + 1 */

/* Socket options of AF_INET and AF_INET6 sockets; values are int. */
#define SOL_FIB 0x4642
#define SO_SETFIB 1  /* set: before bind and connect only */
#define SO_FIB 2     /* get: the socket's FIB, else that of its local address */
#define SO_FIB_ANY 3 /* set before bind: one wildcard socket for all FIBs, in any thread */
#define SO_FIB_ACCEPT 4 /* set, 0 or 1: accept() on this socket sets the accepting thread's FIB */
#define SO_FIB_ONLY 5 /* set before bind, 0 or 1: a socket of FIB 0 hears FIB 0 alone */

#if !defined(__bpf__) && !defined(FIB_CONSTANTS_ONLY)
#include <netinet/in.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Set the FIB of sockets that this thread, and threads and processes it starts, will create. */
static inline int fib_set_thread(unsigned int fib)
{
	return prctl(PR_FIB, PR_FIB_SET, (unsigned long)fib, 0UL, 0UL) < 0 ? -1 : 0;
}

/* The calling thread's FIB. */
static inline int fib_get_thread(void)
{
	int raised = prctl(PR_FIB, PR_FIB_GET, 0UL, 0UL, 0UL);

	return raised < 0 ? -1 : raised - 1;
}

/* Set the FIB of an unbound, unconnected socket. */
static inline int fib_set_socket(int fd, int fib)
{
	return setsockopt(fd, SOL_FIB, SO_SETFIB, &fib, sizeof(fib));
}

/* Make an unbound socket a wildcard one, whatever the thread's FIB. */
static inline int fib_set_socket_any(int fd)
{
	int on = 1;

	return setsockopt(fd, SOL_FIB, SO_FIB_ANY, &on, sizeof(on));
}

/* Let a socket of FIB 0 hear FIB 0 alone (on = 1) instead of all FIBs; before bind. */
static inline int fib_set_socket_only(int fd, int on)
{
	return setsockopt(fd, SOL_FIB, SO_FIB_ONLY, &on, sizeof(on));
}

/* Let accept() on this socket also set the accepting thread's FIB (on = 1), or no longer. */
static inline int fib_set_accept_sets_thread(int fd, int on)
{
	return setsockopt(fd, SOL_FIB, SO_FIB_ACCEPT, &on, sizeof(on));
}

/* The FIB of a socket: its own, else that of its local address, else 0. */
static inline int fib_get_socket(int fd)
{
	int fib = -1;
	socklen_t size = sizeof(fib);

	return getsockopt(fd, SOL_FIB, SO_FIB, &fib, &size) < 0 ? -1 : fib;
}

/* The FIB of a local IPv4 or IPv6 address, as a socket bound to it would have; its port is ignored. */
static inline int fib_of_address(const struct sockaddr *address, socklen_t size)
{
	struct sockaddr_storage copy;
	int fd, fib = -1;

	memset(&copy, 0, sizeof(copy));
	memcpy(&copy, address, size < sizeof(copy) ? size : sizeof(copy));
	if (copy.ss_family == AF_INET)
		((struct sockaddr_in *)&copy)->sin_port = 0;
	else
		((struct sockaddr_in6 *)&copy)->sin6_port = 0;
	fd = socket(copy.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (!fib_set_socket_any(fd) && !bind(fd, (struct sockaddr *)&copy, size))
		fib = fib_get_socket(fd);
	close(fd);
	return fib;
}
#endif

#endif
