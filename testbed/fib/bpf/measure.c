// SPDX-License-Identifier: BSD-2-Clause
/* Prints what each program costs, as the kernel's verifier and compiler say.
 *
 *   fib-measure DIRECTORY    load every DIRECTORY/NAME.bpf.o, attach nothing
 *
 * One JSON list: instructions that the verifier has walked, bytes translated and compiled, bytes of
 * stack. Maps are made anew and go with this process: those in use are not touched.
 */
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define LOG_BYTES 65536
#define LOG_STATISTICS 4 /* BPF_LOG_STATS of the kernel's bpf_verifier.h */
#define PROGRAMS 16      /* of one object */

static int fail(const char *what, int error)
{
	fprintf(stderr, "fib-measure: %s: %s\n", what, strerror(error));
	return 1;
}

/* The number behind `word` in the verifier's log; "stack depth 40+16" is the sum: callee's too. */
static unsigned long number_after(const char *log, const char *word)
{
	const char *found = strstr(log, word);
	unsigned long sum = 0;
	char *end;

	if (!found)
		return 0;
	found += strlen(word);
	for (;;) {
		sum += strtoul(found, &end, 10);
		if (*end != '+')
			return sum;
		found = end + 1;
	}
}

static int print_program(const struct bpf_program *program, const char *log)
{
	static bool is_first = true;
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size))
		return fail(bpf_program__name(program), errno);
	printf("%s\n {\"program\": \"%s\", \"hook\": \"%s\", \"walked\": %lu, \"translated_bytes\": %u, "
	       "\"compiled_bytes\": %u, \"stack_bytes\": %lu}",
	       is_first ? "" : ",", bpf_program__name(program), bpf_program__section_name(program),
	       number_after(log, "processed "), info.xlated_prog_len, info.jited_prog_len,
	       number_after(log, "stack depth "));
	is_first = false;
	return 0;
}

static int measure(const char *path)
{
	static char logs[PROGRAMS][LOG_BYTES];
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program;
	struct bpf_map *map;
	int error = 0;
	size_t i = 0;

	if (!object)
		return fail(path, errno);
	bpf_object__for_each_map(map, object)
		bpf_map__set_pin_path(map, NULL);
	bpf_object__for_each_program(program, object) {
		if (i == PROGRAMS)
			return fail(path, E2BIG);
		logs[i][0] = '\0';
		bpf_program__set_log_level(program, LOG_STATISTICS);
		bpf_program__set_log_buf(program, logs[i++], LOG_BYTES);
	}
	if (bpf_object__load(object))
		return fail(path, errno);
	i = 0;
	bpf_object__for_each_program(program, object)
		error |= print_program(program, logs[i++]);
	bpf_object__close(object);
	return error;
}

int main(int argc, char **argv)
{
	char pattern[PATH_MAX];
	glob_t found;
	int error = 0;

	if (argc != 2) {
		fputs("usage: fib-measure DIRECTORY\n", stderr);
		return 2;
	}
	snprintf(pattern, sizeof(pattern), "%s/*.bpf.o", argv[1]);
	if (glob(pattern, 0, NULL, &found))
		return fail(pattern, ENOENT);
	putchar('[');
	for (size_t i = 0; i < found.gl_pathc; i++)
		error |= measure(found.gl_pathv[i]);
	puts("\n]");
	globfree(&found);
	return error;
}
