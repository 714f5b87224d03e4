// SPDX-License-Identifier: BSD-2-Clause
/* A C program on fib.h alone: every function, each with what it refuses. Run by test_c.py in a thread
 * of FIB 0 with the lab's addresses; says on stderr what is not as documented. Exit code 0: all is.
 */
#include "../fib.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

static int failures;

static void expect(const char *what, int result, int wanted, int error)
{
	if (result == wanted && (wanted >= 0 || errno == error))
		return;
	fprintf(stderr, "%s: %d (errno %d), not %d (errno %d)\n", what, result, errno, wanted, error);
	failures++;
}

#define EXPECT(call, wanted) expect(#call, call, wanted, 0)
#define REFUSED(call, error) expect(#call, call, -1, error)

static void *in_thread(void *unused)
{
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	EXPECT(fib_get_thread(), 2);
	EXPECT(fib_get_socket(fd), 2);
	EXPECT(fib_set_thread(3), 0);
	close(fd);
	return unused;
}

static void check_threads(void)
{
	pthread_t thread;

	EXPECT(fib_get_thread(), 0);
	EXPECT(fib_set_thread(2), 0);
	pthread_create(&thread, NULL, in_thread, NULL);
	pthread_join(thread, NULL);
	EXPECT(fib_get_thread(), 2);
	REFUSED(fib_set_thread(FIB_MAX + 1), EINVAL);
	REFUSED(fib_set_thread((unsigned int)-1), EINVAL);
	EXPECT(fib_get_thread(), 2);
	EXPECT(fib_set_thread(0), 0);
}

static void check_sockets(void)
{
	struct sockaddr_in loopback = { .sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), local = socket(AF_UNIX, SOCK_STREAM, 0);

	EXPECT(fib_get_socket(fd), 0);
	EXPECT(fib_set_socket(fd, 1), 0);
	EXPECT(fib_get_socket(fd), 1);
	REFUSED(fib_set_socket(fd, -1), EINVAL);
	REFUSED(fib_set_socket(fd, FIB_MAX + 1), EINVAL);
	EXPECT(fib_set_socket_any(fd), 0);
	EXPECT(fib_get_socket(fd), 0);
	EXPECT(fib_set_socket_only(fd, 1), 0);
	REFUSED(fib_set_socket_only(fd, 2), EINVAL);
	EXPECT(fib_set_accept_sets_thread(fd, 1), 0);
	EXPECT(fib_set_accept_sets_thread(fd, 0), 0);
	REFUSED(fib_set_accept_sets_thread(fd, -1), EINVAL);
	EXPECT(bind(fd, (struct sockaddr *)&loopback, sizeof(loopback)), 0);
	REFUSED(fib_set_socket(fd, 1), EISCONN);
	REFUSED(fib_set_socket_only(fd, 0), EISCONN);
	EXPECT(fib_set_socket(fd, 0), 0);
	REFUSED(fib_set_socket(local, 1), EOPNOTSUPP);
	close(fd);
	close(local);
}

/* Arguments: FIB and address, one pair after another. */
static void check_addresses(char **argv)
{
	for (; argv[0] && argv[1]; argv += 2) {
		struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = 1 };
		struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = 1 };
		int fib = 0, wanted = 0;

		sscanf(argv[0], "%d", &wanted);
		if (inet_pton(AF_INET, argv[1], &four.sin_addr) == 1)
			fib = fib_of_address((struct sockaddr *)&four, sizeof(four));
		else if (inet_pton(AF_INET6, argv[1], &six.sin6_addr) == 1)
			fib = fib_of_address((struct sockaddr *)&six, sizeof(six));
		expect(argv[1], fib, wanted, EADDRNOTAVAIL);
	}
}

int main(int argc, char **argv)
{
	(void)argc;
	check_threads();
	check_sockets();
	check_addresses(argv + 1);
	return failures != 0;
}
