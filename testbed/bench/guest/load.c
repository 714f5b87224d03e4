/* Serves and loads a server address per tenant: connections, requests, datagrams; times system calls.
 *
 *   load serve PORT [NAMESPACE...]   one thread for all, or one thread and listener a namespace; each
 *                                    says "ready" on a line of its own when it listens
 *   load conn|req|udp TENANTS PORT SECONDS   from 192.168.0.1, to random tenants, one at a time, after
 *                                    a third as long that does not count: an emulator translates meanwhile
 *   load ops COUNT [DIRECT VIRTUAL]  nanoseconds of socket() with close(), of setting the thread's FIB,
 *                                    of accept() with close(), of connect() to two resolvers' addresses
 *
 * Tenant k's server address is 10.64.0.1 + 8 (k - 1). Results are one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 8
#define MOST 2000000
#define HELD 500
#define BATCHES 100

/* As fib.h has them. */
#define PR_FIB 0x46494200
#define PR_FIB_GET 0
#define PR_FIB_SET 1

static int port;
static double set_aside; /* seconds that a batch spent on what is not to be timed */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in name_of(const char *address, int number)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(number)};

	inet_pton(AF_INET, address, &name.sin_addr);
	return name;
}

static struct sockaddr_in server_of(int tenant)
{
	struct sockaddr_in name = name_of("10.64.0.1", port);

	name.sin_addr.s_addr = htonl(ntohl(name.sin_addr.s_addr) + 8 * tenant);
	return name;
}

static int listener(int kind)
{
	struct sockaddr_in any = name_of("0.0.0.0", port);
	int one = 1, made = socket(AF_INET, kind | SOCK_NONBLOCK, 0);

	setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (kind == SOCK_DGRAM)
		setsockopt(made, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	if (bind(made, (void *)&any, sizeof(any)))
		die("bind");
	if (kind == SOCK_STREAM && listen(made, 4096))
		die("listen");
	return made;
}

/* Answer a datagram from the address it was sent to. */
static void answer_datagram(int from)
{
	char data[64], control[128];
	struct sockaddr_in peer;
	struct iovec io = {data, sizeof(data)};
	struct msghdr message = {&peer, sizeof(peer), &io, 1, control, sizeof(control), 0};
	ssize_t size = recvmsg(from, &message, 0);
	struct cmsghdr *c;
	struct in_pktinfo *info;

	if (size < 0)
		return;
	io.iov_len = size;
	for (c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
		if (c->cmsg_type == IP_PKTINFO) {
			info = (void *)CMSG_DATA(c);
			info->ipi_spec_dst = info->ipi_addr;
			/* A VRF is left by the device that it was entered by; elsewhere routes decide. */
			if (!getenv("LOAD_KEEP_DEVICE"))
				info->ipi_ifindex = 0;
		}
	if (sendmsg(from, &message, 0) < 0)
		perror("sendmsg");
}

static void *serve(void *space)
{
	struct epoll_event events[64], event = {.events = EPOLLIN};
	int tcp, udp, loop = epoll_create1(0), count, i, taken;
	char data[64];
	ssize_t size;

	if (space) {
		int handle = open(space, O_RDONLY);

		if (handle < 0 || setns(handle, CLONE_NEWNET))
			die(space);
		close(handle);
	}
	tcp = listener(SOCK_STREAM);
	udp = listener(SOCK_DGRAM);
	event.data.fd = tcp;
	epoll_ctl(loop, EPOLL_CTL_ADD, tcp, &event);
	event.data.fd = udp;
	epoll_ctl(loop, EPOLL_CTL_ADD, udp, &event);
	puts("ready");
	fflush(stdout);
	for (;;) {
		count = epoll_wait(loop, events, 64, -1);
		for (i = 0; i < count; i++) {
			int ready = events[i].data.fd;

			if (ready == tcp) {
				taken = accept4(tcp, NULL, NULL, SOCK_NONBLOCK);
				if (taken < 0)
					continue;
				event.data.fd = taken;
				epoll_ctl(loop, EPOLL_CTL_ADD, taken, &event);
			} else if (ready == udp) {
				answer_datagram(udp);
			} else {
				size = recv(ready, data, sizeof(data), 0);
				if (size <= 0)
					close(ready);
				else if (send(ready, data, size, MSG_NOSIGNAL) < 0)
					close(ready);
			}
		}
	}
	return NULL;
}

static int serve_all(int count, char **spaces)
{
	pthread_attr_t small;
	pthread_t thread;
	int i;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	for (i = 1; i < count; i++)
		if (pthread_create(&thread, &small, serve, spaces[i]))
			die("pthread_create");
	serve(count ? spaces[0] : NULL);
	return 0;
}

static int opened(int kind, int tenant)
{
	struct sockaddr_in client = name_of("192.168.0.1", 0), server = server_of(tenant);
	struct timeval limit = {5, 0};
	int one = 1, made = socket(AF_INET, kind, 0);

	setsockopt(made, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (kind == SOCK_STREAM)
		setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (bind(made, (void *)&client, sizeof(client)))
		die("bind client");
	if (connect(made, (void *)&server, sizeof(server))) {
		fprintf(stderr, "tenant %d: ", tenant + 1);
		die("connect");
	}
	return made;
}

static void round_trip(int over, int tenant)
{
	char data[MESSAGE] = "request";

	if (send(over, data, MESSAGE, 0) != MESSAGE || recv(over, data, MESSAGE, 0) != MESSAGE) {
		fprintf(stderr, "tenant %d: ", tenant + 1);
		die("round trip");
	}
}

/* Close by a reset: no TIME_WAIT, so that ports do not run out. */
static void drop(int made)
{
	struct linger none = {1, 0};

	setsockopt(made, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(made);
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static int run(char kind, int tenants, double seconds)
{
	static float took[MOST];
	int held[HELD], whose[HELD], slots = tenants < HELD ? tenants : HELD, count = 0, i;
	double start = now(), warm, end, begun;

	for (i = 0; kind != 'c' && i < slots; i++) {
		whose[i] = (long)i * tenants / slots;
		held[i] = opened(kind == 'u' ? SOCK_DGRAM : SOCK_STREAM, whose[i]);
		round_trip(held[i], whose[i]);
	}
	srandom(1);
	warm = now() + seconds / 3;
	end = warm + seconds;
	while ((begun = now()) < end && count < MOST) {
		i = random() % (kind == 'c' ? tenants : slots);
		if (kind == 'c') {
			int made = opened(SOCK_STREAM, i);

			round_trip(made, i);
			drop(made);
		} else {
			round_trip(held[i], whose[i]);
		}
		if (begun < warm)
			start = now();
		else
			took[count++] = (now() - begun) * 1e6;
	}
	seconds = now() - start;
	qsort(took, count, sizeof(*took), by_value);
	printf("{\"count\": %d, \"per_s\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", count,
	       count / seconds, took[count / 2], took[(int)(count * 0.99)]);
	return 0;
}

/* Nanoseconds of each kind of call: the middle one of many short batches, since some have other work to
 * do: a tick, what the batches before have left to be freed.
 */
static double middle(void (*batch)(int, const char *), int count, const char *address)
{
	float took[BATCHES];
	double start;
	int i;

	for (i = 0; i < BATCHES; i++) {
		start = now() - set_aside;
		batch(count / BATCHES, address);
		took[i] = (now() - set_aside - start) / (count / BATCHES) * 1e9;
	}
	qsort(took, BATCHES, sizeof(*took), by_value);
	return took[BATCHES / 2];
}

static void sockets(int count, const char *unused)
{
	(void)unused;
	while (count--)
		close(socket(AF_INET, SOCK_DGRAM, 0));
}

/* Without the extensions this is a prctl that the kernel refuses: the bare system call. */
static void thread_fibs(int count, const char *unused)
{
	(void)unused;
	while (count--)
		prctl(PR_FIB, PR_FIB_SET, (unsigned long)(count & 1), 0UL, 0UL);
}

/* From ourselves to ourselves, at an address of our FIB: the loopback's are FIB 0's. */
static void accepts(int count, const char *address)
{
	struct sockaddr_in name = name_of(address, 0);
	socklen_t size = sizeof(name);
	int clients[count], waiting = socket(AF_INET, SOCK_STREAM, 0), i;
	double start = now();

	if (bind(waiting, (void *)&name, size) || listen(waiting, count))
		die("listen");
	getsockname(waiting, (void *)&name, &size);
	for (i = 0; i < count; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(clients[i], (void *)&name, size))
			die("connect to ourselves");
	}
	set_aside += now() - start;
	for (i = 0; i < count; i++)
		close(accept(waiting, NULL, NULL));
	start = now();
	for (i = 0; i < count; i++)
		close(clients[i]);
	close(waiting);
	set_aside += now() - start;
}

static void connects(int count, const char *address)
{
	struct sockaddr_in name = name_of(address, 53);
	int made = socket(AF_INET, SOCK_DGRAM, 0);

	while (count--)
		if (connect(made, (void *)&name, sizeof(name)))
			die(address);
	close(made);
}

static int operations(int count, char **resolvers)
{
	int former = prctl(PR_FIB, PR_FIB_GET, 0UL, 0UL, 0UL) - 1;
	const char *own = resolvers ? "10.64.0.1" : "127.0.0.1";

	printf("{\"socket_ns\": %.0f, \"accept_ns\": %.0f", middle(sockets, count, NULL),
	       middle(accepts, count, own));
	if (resolvers)
		printf(", \"direct_ns\": %.0f, \"virtual_ns\": %.0f",
		       middle(connects, count, resolvers[0]), middle(connects, count, resolvers[1]));
	printf(", \"thread_fib_ns\": %.0f}\n", middle(thread_fibs, count, NULL));
	if (former >= 0)
		prctl(PR_FIB, PR_FIB_SET, (unsigned long)former, 0UL, 0UL);
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit files = {65536, 65536};

	setrlimit(RLIMIT_NOFILE, &files);
	if (argc >= 3 && !strcmp(argv[1], "serve")) {
		port = atoi(argv[2]);
		return serve_all(argc - 3, argv + 3);
	}
	if ((argc == 3 || argc == 5) && !strcmp(argv[1], "ops"))
		return operations(atoi(argv[2]), argc == 5 ? argv + 3 : NULL);
	if (argc == 5) {
		port = atoi(argv[3]);
		return run(argv[1][0], atoi(argv[2]), atof(argv[4]));
	}
	fprintf(stderr, "usage: see load.c\n");
	return 2;
}
