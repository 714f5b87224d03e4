// SPDX-License-Identifier: BSD-2-Clause
/* Prints threads being started and sockets being made and connected, with their FIB.
 *
 *   fib-trace DIRECTORY    load DIRECTORY/trace.bpf.o and tell until standard input ends
 *
 * One JSON object a line. The first, {"event": "ready"}, says that nothing is missed from now on; the
 * last, {"event": "end", "lost": N}, how many events found no room.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "trace.h"

static int fail(const char *what, int error)
{
	fprintf(stderr, "fib-trace: %s: %s\n", what, strerror(error));
	return 1;
}

/* A command's name may hold any byte. */
static void print_command(const char *command, size_t size)
{
	for (size_t i = 0; i < size && command[i]; i++) {
		unsigned char byte = command[i];

		if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\')
			printf("\\u%04x", byte);
		else
			putchar(byte);
	}
}

static int print_event(void *context, void *data, size_t size)
{
	static const char *const names[] = { "thread", "socket", "connect" };
	const struct fib_trace *event = data;

	printf("{\"event\": \"%s\", \"process\": %u, \"thread\": %u, \"command\": \"",
	       names[event->kind], event->process, event->thread);
	print_command(event->command, sizeof(event->command));
	if (event->kind == FIB_TRACE_THREAD)
		printf("\", \"child\": %u}\n", event->child);
	else
		printf("\", \"fib\": %u, \"family\": %u, \"type\": %u}\n", event->fib,
		       event->family, event->type);
	return 0;
}

/* Until standard input ends or nobody reads. */
static int follow(struct ring_buffer *events)
{
	struct pollfd waits[] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = ring_buffer__epoll_fd(events), .events = POLLIN },
	};
	char ignored[256];

	for (;;) {
		if (poll(waits, 2, -1) < 0 && errno != EINTR)
			return fail("poll", errno);
		if (ring_buffer__consume(events) < 0)
			return fail("events", errno);
		if (fflush(stdout))
			return fail("standard output", errno);
		if (waits[0].revents && read(STDIN_FILENO, ignored, sizeof(ignored)) <= 0)
			return 0;
	}
}

static __u64 lost(const struct bpf_object *object)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".bss");
	__u32 zero = 0;
	__u64 count = 0;

	if (map)
		bpf_map_lookup_elem(bpf_map__fd(map), &zero, &count);
	return count;
}

static int trace(struct bpf_object *object)
{
	struct bpf_program *program;
	struct ring_buffer *events;
	int result;

	bpf_object__for_each_program(program, object)
		if (!bpf_program__attach(program)) /* its link ends with this process */
			return fail(bpf_program__name(program), errno);
	events = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "fib_events"),
				  print_event, NULL, NULL);
	if (!events)
		return fail("events", errno);
	puts("{\"event\": \"ready\"}");
	fflush(stdout);
	result = follow(events);
	ring_buffer__consume(events);
	printf("{\"event\": \"end\", \"lost\": %llu}\n", (unsigned long long)lost(object));
	ring_buffer__free(events);
	return result;
}

int main(int argc, char **argv)
{
	char path[PATH_MAX];
	struct bpf_object *object;

	if (argc != 2) {
		fputs("usage: fib-trace DIRECTORY\n", stderr);
		return 2;
	}
	snprintf(path, sizeof(path), "%s/trace.bpf.o", argv[1]);
	object = bpf_object__open_file(path, NULL);
	if (!object || bpf_object__load(object))
		return fail(path, errno);
	return trace(object);
}
