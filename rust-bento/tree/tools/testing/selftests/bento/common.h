/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests share.
 *
 * There has to be a mount that can be spared, as no kernel can make one by
 * itself, and two implementations of its format:
 *
 *   BENTO_DIR=/mnt BENTO_FROM=xv6 BENTO_TO=xv6-next ./upgrade_test
 *
 * BENTO_FROM serves the mount. It does so again when the tests have ended.
 */
#ifndef SELFTEST_BENTO_COMMON_H
#define SELFTEST_BENTO_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <linux/bento.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define IMPLEMENTATIONS "/sys/fs/bento/implementations"
#define MOUNTS "/sys/fs/bento/mounts"
#define NOBODY 65534

static inline bool read_text(const char *dir, const char *name, char *text, size_t size)
{
	char path[512];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	len = read(fd, text, size - 1);
	close(fd);
	if (len <= 0 || text[len - 1] != '\n')
		return false;
	text[len - 1] = '\0';
	return true;
}

static inline unsigned long long read_number(const char *dir, const char *name)
{
	char text[64], *end;
	unsigned long long number;

	if (!read_text(dir, name, text, sizeof(text)))
		return ~0ULL;
	number = strtoull(text, &end, 10);
	return *end ? ~0ULL : number;
}

/* Writes to a file in sysfs: 0 or -errno. */
static inline int write_text(const char *dir, const char *name, const char *text)
{
	char path[512];
	int fd, error;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	error = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return error;
}

/* Runs a function as somebody without privileges: its answer. */
static inline int as_nobody(int (*work)(int fd, const char *name), int fd, const char *name)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
			_exit(255);
		_exit(-work(fd, name));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -255;
	return -WEXITSTATUS(status);
}

/* Runs a function with all capabilities of a user namespace: its answer. */
static inline int as_root_elsewhere(int (*work)(int fd, const char *name), int fd, const char *name)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (unshare(CLONE_NEWUSER))
			_exit(254);
		_exit(-work(fd, name));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -255;
	return -WEXITSTATUS(status);
}

static inline void request_for(struct bento_upgrade *request, const char *name)
{
	memset(request, 0, sizeof(*request));
	request->size = sizeof(*request);
	snprintf(request->name, sizeof(request->name), "%s", name);
}

/* The mount that the tests may use. */
struct spare {
	const char *dir;	/* a directory of it */
	const char *from;	/* what serves it */
	const char *to;		/* what can, too */
	char sysfs[300];	/* its directory in sysfs */
	int fd;			/* open on dir */
};

/* Finds it. Otherwise: why there is none. */
static inline const char *find_spare(struct spare *spare)
{
	char path[64], link[256], name[64];
	struct stat stat;
	ssize_t len;

	spare->fd = -1;
	spare->dir = getenv("BENTO_DIR");
	spare->from = getenv("BENTO_FROM");
	spare->to = getenv("BENTO_TO");
	if (!spare->dir || !spare->from || !spare->to)
		return "BENTO_DIR, BENTO_FROM and BENTO_TO are not set";
	if (geteuid())
		return "this needs root";
	spare->fd = open(spare->dir, O_RDONLY | O_DIRECTORY);
	if (spare->fd < 0 || fstat(spare->fd, &stat))
		return "BENTO_DIR is no directory";
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(stat.st_dev),
		 minor(stat.st_dev));
	len = readlink(path, link, sizeof(link) - 1);
	if (len <= 0)
		return "BENTO_DIR is on no block device";
	link[len] = '\0';
	snprintf(spare->sysfs, sizeof(spare->sysfs), MOUNTS "/%s", strrchr(link, '/') + 1);
	if (!read_text(spare->sysfs, "implementation", name, sizeof(name)))
		return "BENTO_DIR is on no Bento file system";
	if (strcmp(name, spare->from))
		return "BENTO_FROM does not serve BENTO_DIR";
	return NULL;
}

/* A test that failed may have left the other one. */
static inline void give_back(struct spare *spare)
{
	struct bento_upgrade request;
	char name[64] = "";

	if (spare->fd < 0)
		return;
	read_text(spare->sysfs, "implementation", name, sizeof(name));
	if (strcmp(name, spare->from)) {
		request_for(&request, spare->from);
		ioctl(spare->fd, BENTO_IOC_UPGRADE, &request);
	}
	close(spare->fd);
}

/* Nothing has changed. */
static inline bool served_as_before(const struct spare *spare)
{
	char name[64];

	return read_text(spare->sysfs, "implementation", name, sizeof(name)) &&
	       !strcmp(name, spare->from);
}

#endif
