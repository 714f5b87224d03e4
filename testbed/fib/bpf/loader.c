// SPDX-License-Identifier: BSD-2-Clause
/* Attaches the FIB programs and pins them, or exchanges them for newer ones, or takes them off.
 *
 *   fib-loader attach INTERFACE DIRECTORY   load DIRECTORY/NAME.bpf.o; maps and links are pinned
 *   fib-loader detach INTERFACE             remove programs, links and maps
 *
 * attach may be repeated: maps are reused, so no packet meets an empty map. Exchange without a
 * gap: tc filters and cgroup links are replaced in place; LSM links cannot be, so the new one is
 * attached before the old one goes, and both together are harmless (they share their maps).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define PIN_ROOT "/sys/fs/bpf/fib"
#define MAP_ROOT PIN_ROOT "/v1"
#define LINK_ROOT PIN_ROOT "/links"
#define CGROUP_ROOT "/sys/fs/cgroup"
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#define TC_HANDLE 1
#define TC_PRIORITY 1

static const char *const objects[] = { "ingress", "egress", "thread", "sockopt", "bind",
				       "connect", "accept", "jail", "sctp", "resolver",
				       "hear", "lookup" };

#define OBJECTS (sizeof(objects) / sizeof(*objects))

struct link_path {
	char text[PATH_MAX];
};

static int fail(const char *what, const char *name, int error)
{
	fprintf(stderr, "fib-loader: %s %s: %s\n", what, name, strerror(error));
	return -1;
}

static int print_warnings(enum libbpf_print_level level, const char *format, va_list arguments)
{
	/* "Exclusivity flag on" (the clsact qdisc exists) is printed by libbpf and is no error. */
	if (level > LIBBPF_WARN || strstr(format, "Kernel error message"))
		return 0;
	return vfprintf(stderr, format, arguments);
}

static struct link_path link_path(const char *name, const char *suffix)
{
	struct link_path path;

	snprintf(path.text, sizeof(path.text), LINK_ROOT "/%s%s", name, suffix);
	return path;
}

static bool is_tc(const struct bpf_program *program)
{
	return bpf_program__type(program) == BPF_PROG_TYPE_SCHED_CLS;
}

static enum bpf_tc_attach_point tc_side(const struct bpf_program *program)
{
	return strcmp(bpf_program__name(program), "fib_egress") ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

static int attach_tc(const struct bpf_program *program, int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = TC_HANDLE, .priority = TC_PRIORITY,
		    .prog_fd = bpf_program__fd(program), .flags = BPF_TC_F_REPLACE);
	int error = bpf_tc_hook_create(&hook);

	if (error && error != -EEXIST)
		return fail("clsact for", bpf_program__name(program), -error);
	hook.attach_point = tc_side(program);
	error = bpf_tc_attach(&hook, &options);
	return error ? fail("attach", bpf_program__name(program), -error) : 0;
}

/* Exchange the program of a pinned link; false when there is none or its kind cannot be. */
static bool update_link(const struct bpf_program *program, const char *path)
{
	int link = bpf_obj_get(path);
	bool updated;

	if (link < 0)
		return false;
	updated = bpf_link_update(link, bpf_program__fd(program), NULL) == 0;
	close(link);
	return updated;
}

/* Socket lookup belongs to a network namespace: ours. */
static struct bpf_link *attach_here(const struct bpf_program *program)
{
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct bpf_link *link;

	if (here < 0)
		return NULL;
	link = bpf_program__attach_netns(program, here);
	close(here);
	return link;
}

/* LSM and tracing programs name their hook themselves; lsm_cgroup ones belong to a cgroup. */
static struct bpf_link *attach_link(const struct bpf_program *program, int cgroup)
{
	enum bpf_prog_type type = bpf_program__type(program);

	if (type == BPF_PROG_TYPE_TRACING ||
	    (type == BPF_PROG_TYPE_LSM &&
	     bpf_program__expected_attach_type(program) != BPF_LSM_CGROUP))
		return bpf_program__attach(program);
	if (type == BPF_PROG_TYPE_SK_LOOKUP)
		return attach_here(program);
	return bpf_program__attach_cgroup(program, cgroup);
}

static int attach_pinned(const struct bpf_program *program, int cgroup)
{
	const char *name = bpf_program__name(program);
	struct link_path path = link_path(name, ""), fresh = link_path(name, "_new");
	struct bpf_link *link;
	int error = 0;

	if (update_link(program, path.text))
		return 0;
	link = attach_link(program, cgroup);
	if (!link)
		return fail("attach", name, errno);
	unlink(fresh.text); /* of an attempt that was killed */
	if (bpf_link__pin(link, fresh.text) || rename(fresh.text, path.text))
		error = fail("pin", name, errno);
	bpf_link__disconnect(link);
	bpf_link__destroy(link);
	return error;
}

static struct bpf_object *load(const char *directory, const char *name)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .pin_root_path = MAP_ROOT);
	char path[PATH_MAX];
	struct bpf_object *object;

	snprintf(path, sizeof(path), "%s/%s.bpf.o", directory, name);
	object = bpf_object__open_file(path, &options);
	if (!object) {
		fail("open", path, errno);
		return NULL;
	}
	if (bpf_object__load(object)) {
		fail("load", path, errno);
		bpf_object__close(object);
		return NULL;
	}
	return object;
}

static int attach_object(const struct bpf_object *object, int ifindex, int cgroup)
{
	struct bpf_program *program;
	int error = 0;

	bpf_object__for_each_program(program, object) {
		if (is_tc(program))
			error |= attach_tc(program, ifindex);
		else
			error |= attach_pinned(program, cgroup);
	}
	return error;
}

/* Say in which network namespace the programs are to act: this one. */
static int set_home(void)
{
	int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int map = bpf_obj_get(MAP_ROOT "/fib_home");
	__u64 cookie = 0;
	socklen_t size = sizeof(cookie);
	__u32 zero = 0;
	int error = 0;

	if (probe < 0 || map < 0 ||
	    getsockopt(probe, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) ||
	    bpf_map_update_elem(map, &zero, &cookie, BPF_ANY))
		error = fail("set", "fib_home", errno);
	close(probe);
	close(map);
	return error;
}

/* All are loaded before the first is attached: what the verifier refuses changes nothing. */
static int attach_objects(const char *directory, int ifindex, int cgroup)
{
	struct bpf_object *loaded[OBJECTS] = {};
	int error = 0;

	for (size_t i = 0; i < OBJECTS && !error; i++) {
		loaded[i] = load(directory, objects[i]);
		if (!loaded[i])
			error = -1;
	}
	if (!error)
		error = set_home();
	for (size_t i = 0; i < OBJECTS && !error; i++)
		error = attach_object(loaded[i], ifindex, cgroup);
	for (size_t i = 0; i < OBJECTS; i++)
		bpf_object__close(loaded[i]);
	return error;
}

static int make_directory(const char *path)
{
	if (mkdir(path, 0700) && errno != EEXIST)
		return fail("make", path, errno);
	return 0;
}

static int attach(int ifindex, const char *directory)
{
	int cgroup = open(CGROUP_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error;

	if (cgroup < 0)
		return fail("open", CGROUP_ROOT, errno);
	if (make_directory(PIN_ROOT) || make_directory(MAP_ROOT) || make_directory(LINK_ROOT)) {
		close(cgroup);
		return -1;
	}
	error = attach_objects(directory, ifindex, cgroup);
	close(cgroup);
	return error;
}

static int detach_tc(int ifindex, enum bpf_tc_attach_point side)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = side);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = TC_HANDLE, .priority = TC_PRIORITY);
	int error = bpf_tc_detach(&hook, &options);

	/* ENOENT: no such filter. EINVAL: no clsact at all. */
	return error && error != -ENOENT && error != -EINVAL ? fail("detach", "tc", -error) : 0;
}

/* bpffs goes no deeper here than one directory of pins. */
static int remove_pins(const char *directory)
{
	DIR *listing = opendir(directory);
	struct dirent *entry;
	int error = 0;

	if (!listing)
		return errno == ENOENT ? 0 : fail("open", directory, errno);
	while ((entry = readdir(listing))) {
		if (entry->d_name[0] == '.')
			continue;
		if (unlinkat(dirfd(listing), entry->d_name, 0))
			error = fail("remove", entry->d_name, errno);
	}
	closedir(listing);
	return rmdir(directory) ? fail("remove", directory, errno) : error;
}

/* The socket hooks go first: what has no FIB any more must still be stopped by the guard. */
static int detach(int ifindex)
{
	int error = remove_pins(LINK_ROOT);

	error |= detach_tc(ifindex, BPF_TC_INGRESS);
	error |= detach_tc(ifindex, BPF_TC_EGRESS);
	error |= remove_pins(MAP_ROOT);
	if (rmdir(PIN_ROOT) && errno != ENOENT)
		error = fail("remove", PIN_ROOT, errno);
	return error;
}

static int usage(void)
{
	fputs("usage: fib-loader attach INTERFACE DIRECTORY | detach INTERFACE\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	bool attaches = argc == 4 && !strcmp(argv[1], "attach");
	int ifindex;

	if (!attaches && !(argc == 3 && !strcmp(argv[1], "detach")))
		return usage();
	libbpf_set_print(print_warnings);
	ifindex = (int)if_nametoindex(argv[2]);
	if (!ifindex) {
		fail("interface", argv[2], errno);
		return 1;
	}
	return (attaches ? attach(ifindex, argv[3]) : detach(ifindex)) ? 1 : 0;
}
