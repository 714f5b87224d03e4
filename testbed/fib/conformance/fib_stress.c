// SPDX-License-Identifier: BSD-2-Clause
/* Changes FIBs of threads and makes sockets as fast as it goes, and compares.
 *
 *   fib-stress SECONDS THREADS CHILDREN
 *
 * THREADS threads go through as many FIBs for SECONDS, and until CHILDREN short-lived threads have been
 * started: each of these must have its creator's FIB, whoever had its thread id before. Prints one JSON
 * object; exit code 0: no mismatch.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include "../fib.h"

#define SOCKETS_A_CHILD 16
#define STACK_BYTES 65536
#define THREAD_IDS (1 << 22) /* the kernel's own limit of pid_max */

static atomic_ulong sockets, children, recycled, mismatches;
static atomic_uchar seen[THREAD_IDS / 8];
static unsigned long wanted_children;
static int threads;
static struct timespec end;

static bool is_over(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec > end.tv_sec ||
		(now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec)) &&
	       atomic_load(&children) >= wanted_children;
}

static void expect(const char *what, int expected, int found)
{
	if (expected == found)
		return;
	if (atomic_fetch_add(&mismatches, 1) < 10)
		fprintf(stderr, "fib-stress: thread %d: %s %d instead of %d\n", gettid(), what,
			found, expected);
}

/* A socket of each kind in turn: is it in the FIB of this thread? */
static void check_socket(int fib)
{
	static const int kinds[][2] = { { AF_INET, SOCK_STREAM },
					{ AF_INET6, SOCK_STREAM },
					{ AF_INET, SOCK_DGRAM },
					{ AF_INET6, SOCK_DGRAM } };
	unsigned long turn = atomic_fetch_add(&sockets, 1) % 4;
	int made = socket(kinds[turn][0], kinds[turn][1] | SOCK_CLOEXEC, 0);
	int mark = -1;
	socklen_t size = sizeof(mark);

	if (made < 0) {
		perror("fib-stress: socket");
		exit(2);
	}
	expect("fib_get_socket", fib, fib_get_socket(made));
	getsockopt(made, SOL_SOCKET, SO_MARK, &mark, &size);
	expect("SO_MARK", fib, mark);
	close(made);
}

static void note_thread_id(void)
{
	unsigned int id = (unsigned int)gettid();
	unsigned char bit = 1 << (id % 8);

	if (atomic_fetch_or(&seen[id / 8], bit) & bit)
		atomic_fetch_add(&recycled, 1);
}

static void *live_shortly(void *creator_fib)
{
	int fib = (int)(intptr_t)creator_fib;

	note_thread_id();
	expect("fib_get_thread of a new thread", fib, fib_get_thread());
	check_socket(fib);
	fib_set_thread(60000 + fib); /* what the next owner of this thread id must not have */
	check_socket(60000 + fib);
	return NULL;
}

static void start_child(int fib)
{
	pthread_attr_t attributes;
	pthread_t child;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	if (pthread_create(&child, &attributes, live_shortly, (void *)(intptr_t)fib)) {
		perror("fib-stress: pthread_create");
		exit(2);
	}
	pthread_join(child, NULL);
	pthread_attr_destroy(&attributes);
	atomic_fetch_add(&children, 1);
}

static void *play(void *first)
{
	int fib = (int)(intptr_t)first;
	unsigned int turn = 0;

	while (!is_over()) {
		fib = fib % threads + 1;
		if (fib_set_thread(fib)) {
			perror("fib-stress: fib_set_thread");
			exit(2);
		}
		check_socket(fib);
		expect("fib_get_thread", fib, fib_get_thread());
		if (++turn % SOCKETS_A_CHILD == 0 || atomic_load(&children) < wanted_children)
			start_child(fib);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t *players;

	if (argc != 4 || (threads = atoi(argv[2])) < 1 || threads > 1000) {
		fputs("usage: fib-stress SECONDS THREADS CHILDREN\n", stderr);
		return 2;
	}
	wanted_children = strtoul(argv[3], NULL, 10);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += atoi(argv[1]);
	players = calloc(threads, sizeof(*players));
	for (int i = 0; i < threads; i++)
		if (pthread_create(&players[i], NULL, play, (void *)(intptr_t)i))
			return 2;
	for (int i = 0; i < threads; i++)
		pthread_join(players[i], NULL);
	free(players);
	printf("{\"sockets\": %lu, \"children\": %lu, \"recycled\": %lu, \"mismatches\": %lu}\n",
	       sockets, children, recycled, mismatches);
	return mismatches ? 1 : 0;
}
