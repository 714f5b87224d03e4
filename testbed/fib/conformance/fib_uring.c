// SPDX-License-Identifier: BSD-2-Clause
/* Sockets that io_uring makes and accepts, and the FIBs they have. Run by test_uring.py.
 *
 *   fib-uring socket inline|worker|poller   a ring made in FIB 2: prints the FIB of a socket made by it,
 *                                           and of another after the thread has gone to FIB 3
 *   fib-uring accept inline|worker PORT N   listens with SO_FIB_ACCEPT in a thread of FIB 2 until a line
 *                                           comes, accepts N connections and prints the FIB of each and of
 *                                           a socket that whoever accepted makes next; then the thread's
 *
 * inline: by the thread itself. worker: by a thread of the kernel's pool. poller: by the ring's own thread.
 * Without a library: only what is needed, one request at a time. Exit code 1: the kernel refused.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../fib.h"

#define ENTRIES 4

struct ring {
	int fd;
	bool has_poller, by_worker;
	unsigned *sq_tail, *sq_flags, *cq_head, *cq_tail;
	unsigned sq_mask, cq_mask, *sq_array;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void *map(int fd, size_t bytes, off_t offset)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);

	if (at == MAP_FAILED)
		fail("mmap");
	return at;
}

static void open_ring(struct ring *ring, const char *by)
{
	unsigned workers[] = { 1, 1 }; /* so that it is the same one each time */
	struct io_uring_params params = {};
	char *sq, *cq;

	ring->has_poller = !strcmp(by, "poller");
	ring->by_worker = !strcmp(by, "worker");
	if (ring->has_poller)
		params.flags = IORING_SETUP_SQPOLL;
	ring->fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &params);
	if (ring->fd < 0)
		fail("io_uring_setup");
	if (syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_IOWQ_MAX_WORKERS, workers, 2) < 0)
		fail("io_uring_register");
	sq = map(ring->fd, params.sq_off.array + params.sq_entries * sizeof(unsigned),
		 IORING_OFF_SQ_RING);
	cq = map(ring->fd, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
		 IORING_OFF_CQ_RING);
	ring->sqes = map(ring->fd, params.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	ring->sq_tail = (unsigned *)(sq + params.sq_off.tail);
	ring->sq_flags = (unsigned *)(sq + params.sq_off.flags);
	ring->sq_mask = *(unsigned *)(sq + params.sq_off.ring_mask);
	ring->sq_array = (unsigned *)(sq + params.sq_off.array);
	ring->cq_head = (unsigned *)(cq + params.cq_off.head);
	ring->cq_tail = (unsigned *)(cq + params.cq_off.tail);
	ring->cq_mask = *(unsigned *)(cq + params.cq_off.ring_mask);
	ring->cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
}

static unsigned enter_flags(const struct ring *ring)
{
	return IORING_ENTER_GETEVENTS | (ring->has_poller ? IORING_ENTER_SQ_WAKEUP : 0);
}

/* Hand requests to the kernel, each linked to the one before. A linked request is done by whoever has
 * done the one before (io_worker_handle_work); alone it may be another worker's, because the pool has
 * one kind for sockets' requests and one for the rest (io_prep_async_work). */
static void submit(struct ring *ring, const struct io_uring_sqe *requests, unsigned count)
{
	unsigned tail = *ring->sq_tail;

	for (unsigned i = 0; i < count; i++) {
		unsigned index = (tail + i) & ring->sq_mask;

		ring->sqes[index] = requests[i];
		if (ring->by_worker)
			ring->sqes[index].flags |= IOSQE_ASYNC;
		if (i + 1 < count)
			ring->sqes[index].flags |= IOSQE_IO_LINK;
		ring->sq_array[index] = index;
	}
	__atomic_store_n(ring->sq_tail, tail + count, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring->fd, count, count, enter_flags(ring), NULL, 0) < 0)
		fail("io_uring_enter");
}

/* Wait for the next request that is done and return its result, a descriptor. */
static int result_of_next(struct ring *ring)
{
	int result;

	while (*ring->cq_head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
		syscall(SYS_io_uring_enter, ring->fd, 0, 1, enter_flags(ring), NULL, 0);
	result = ring->cqes[*ring->cq_head & ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
	if (result < 0) {
		errno = -result;
		fail("request");
	}
	return result;
}

static const struct io_uring_sqe new_socket = {
	.opcode = IORING_OP_SOCKET, .fd = AF_INET, .off = SOCK_STREAM
};

/* Print the FIB of the socket that the next finished request has brought. */
static void print_next(struct ring *ring)
{
	int fd = result_of_next(ring);

	printf("%d\n", fib_get_socket(fd));
	close(fd);
}

static void make(const char *by)
{
	struct ring ring;

	open_ring(&ring, by);
	submit(&ring, &new_socket, 1);
	print_next(&ring);
	fib_set_thread(3);
	submit(&ring, &new_socket, 1);
	print_next(&ring);
}

static void take(const char *by, const char *port, int count)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
	struct ring ring;

	if (fib_set_socket_any(listener) ||
	    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(listener, (struct sockaddr *)&any, sizeof(any)) || listen(listener, count) ||
	    fib_set_accept_sets_thread(listener, 1))
		fail("listen");
	open_ring(&ring, by);
	puts("listening");
	getchar(); /* all are waiting: a worker that had to wait would leave the rest to the thread */
	while (count--) {
		const struct io_uring_sqe requests[] = {
			{ .opcode = IORING_OP_ACCEPT, .fd = listener }, new_socket
		};

		submit(&ring, requests, 2);
		print_next(&ring);
		print_next(&ring);
	}
	printf("%d\n", fib_get_thread());
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (fib_set_thread(2))
		fail("fib_set_thread");
	if (argc == 3 && !strcmp(argv[1], "socket"))
		make(argv[2]);
	else if (argc == 5 && !strcmp(argv[1], "accept"))
		take(argv[2], argv[3], atoi(argv[4]));
	else
		return 2;
	return 0;
}
