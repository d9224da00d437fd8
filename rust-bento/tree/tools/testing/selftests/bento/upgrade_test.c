// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctl and the system call that replace the code of a mounted Bento file
 * system: what they take, what they refuse, and what they tell.
 */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../kselftest_harness.h"
#include "common.h"

#ifndef __NR_bento_upgrade
#ifdef __alpha__
#define __NR_bento_upgrade 583
#else
#define __NR_bento_upgrade 473
#endif
#endif

/* How an upgrade is asked for. All of them answer with 0 or -errno. */
static int by_ioctl(int fd, void *arg, size_t size)
{
	unsigned int cmd = _IOC(_IOC_READ | _IOC_WRITE, BENTO_IOC_MAGIC, 1, size);

	return ioctl(fd, cmd, arg) ? -errno : 0;
}

static int by_syscall(int fd, void *arg, size_t size)
{
	return syscall(__NR_bento_upgrade, fd, arg, size) ? -errno : 0;
}

FIXTURE(upgrade)
{
	struct spare spare;
	struct bento_upgrade request;
};

FIXTURE_VARIANT(upgrade)
{
	int (*ask)(int fd, void *arg, size_t size);
	int wrong_file;		/* the answer for a file of something else */
};

FIXTURE_VARIANT_ADD(upgrade, ioctl)
{
	.ask = by_ioctl,
	.wrong_file = -ENOTTY,
};

FIXTURE_VARIANT_ADD(upgrade, syscall)
{
	.ask = by_syscall,
	.wrong_file = -EINVAL,
};

FIXTURE_SETUP(upgrade)
{
	const char *missing = find_spare(&self->spare);

	if (missing)
		SKIP(return, "%s", missing);
	if (variant->ask(-1, NULL, 0) == -ENOSYS)
		SKIP(return, "this kernel does not have the system call");
	request_for(&self->request, self->spare.to);
}

FIXTURE_TEARDOWN(upgrade)
{
	give_back(&self->spare);
}

TEST_F(upgrade, layout)
{
	EXPECT_EQ(BENTO_UPGRADE_SIZE_VER0, sizeof(struct bento_upgrade));
	EXPECT_EQ(88, offsetof(struct bento_upgrade, stage_ns));
}

TEST_F(upgrade, sizes)
{
	char page[8192] = {};
	struct bento_upgrade *large = (void *)page;

	self->request.flags = BENTO_UPGRADE_DRY_RUN;
	self->request.size = BENTO_UPGRADE_SIZE_VER0 - 8;
	EXPECT_EQ(-EINVAL, variant->ask(self->spare.fd, &self->request, self->request.size));
	self->request.size = 0;
	EXPECT_EQ(-EINVAL, variant->ask(self->spare.fd, &self->request, 0));
	/* What the structure says is not what the call says. */
	self->request.size = sizeof(self->request) + 8;
	EXPECT_EQ(-EINVAL, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));

	self->request.size = sizeof(self->request) + 64;
	memcpy(large, &self->request, sizeof(self->request));
	EXPECT_EQ(0, variant->ask(self->spare.fd, large, sizeof(self->request) + 64));
	EXPECT_STREQ(self->spare.from, large->from_name);
	page[sizeof(self->request) + 63] = 1;
	EXPECT_EQ(-E2BIG, variant->ask(self->spare.fd, large, sizeof(self->request) + 64));
	large->size = sizeof(page);
	EXPECT_EQ(-E2BIG, variant->ask(self->spare.fd, large, sizeof(page)));
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(upgrade, what_is_not_known_is_refused)
{
	for (int bit = 1; bit < 32; bit++) {
		self->request.flags = 1U << bit;
		EXPECT_EQ(-EINVAL,
			  variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
	}
	self->request.flags = 0;
	self->request.__pad = 1;
	EXPECT_EQ(-EINVAL, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(upgrade, names)
{
	request_for(&self->request, "");
	EXPECT_EQ(-EINVAL, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
	request_for(&self->request, "no-such-implementation");
	EXPECT_EQ(-ENOENT, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
	memset(self->request.name, 'x', sizeof(self->request.name));
	EXPECT_EQ(-EINVAL, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
	memset(self->request.name, 0xff, 4);
	self->request.name[4] = '\0';
	EXPECT_NE(0, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(upgrade, pointers)
{
	long size = sysconf(_SC_PAGESIZE);
	char *page = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct bento_upgrade *end;

	ASSERT_NE(MAP_FAILED, page);
	EXPECT_EQ(-EFAULT, variant->ask(self->spare.fd, NULL, sizeof(self->request)));
	ASSERT_EQ(0, munmap(page + size, size));
	end = (void *)(page + size - sizeof(*end) + 8);
	EXPECT_EQ(-EFAULT, variant->ask(self->spare.fd, end, sizeof(*end)));
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(upgrade, other_files)
{
	char fifo[256];
	int fd;

	EXPECT_EQ(-EBADF, variant->ask(-1, &self->request, sizeof(self->request)));
	fd = open(self->spare.dir, O_PATH);
	EXPECT_EQ(-EBADF, variant->ask(fd, &self->request, sizeof(self->request)));
	close(fd);
	fd = open("/proc/self/maps", O_RDONLY);
	EXPECT_EQ(variant->wrong_file, variant->ask(fd, &self->request, sizeof(self->request)));
	close(fd);
	fd = open("/dev/null", O_RDONLY);
	EXPECT_EQ(variant->wrong_file, variant->ask(fd, &self->request, sizeof(self->request)));
	close(fd);

	/* Of the mount, but not the file system's own. */
	snprintf(fifo, sizeof(fifo), "%s/selftest-fifo", self->spare.dir);
	unlink(fifo);
	ASSERT_EQ(0, mkfifo(fifo, 0600));
	fd = open(fifo, O_RDWR);
	EXPECT_LE(0, fd);
	EXPECT_EQ(variant->wrong_file, variant->ask(fd, &self->request, sizeof(self->request)));
	close(fd);
	unlink(fifo);
	EXPECT_TRUE(served_as_before(&self->spare));
}

static int ask_by_ioctl(int fd, const char *name)
{
	struct bento_upgrade request;

	request_for(&request, name);
	return by_ioctl(fd, &request, sizeof(request));
}

static int ask_by_syscall(int fd, const char *name)
{
	struct bento_upgrade request;

	request_for(&request, name);
	return by_syscall(fd, &request, sizeof(request));
}

static int ask_by_write(int fd, const char *name)
{
	return write(fd, name, strlen(name)) < 0 ? -errno : 0;
}

TEST_F(upgrade, privilege)
{
	int (*ask)(int fd, const char *name) =
		variant->ask == by_ioctl ? ask_by_ioctl : ask_by_syscall;
	char path[400];
	int fd;

	EXPECT_EQ(-EPERM, as_nobody(ask, self->spare.fd, self->spare.to));
	EXPECT_EQ(-EPERM, as_root_elsewhere(ask, self->spare.fd, self->spare.to));
	/* Who opened the file does not matter. */
	snprintf(path, sizeof(path), "%s/upgrade", self->spare.sysfs);
	fd = open(path, O_WRONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EPERM, as_nobody(ask_by_write, fd, self->spare.to));
	EXPECT_EQ(-EPERM, as_root_elsewhere(ask_by_write, fd, self->spare.to));
	close(fd);
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(upgrade, dry_run)
{
	unsigned long long upgrades = read_number(self->spare.sysfs, "upgrades");
	unsigned long long refusals = read_number(self->spare.sysfs, "refusals");

	self->request.flags = BENTO_UPGRADE_DRY_RUN;
	ASSERT_EQ(0, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
	EXPECT_STREQ(self->spare.from, self->request.from_name);
	EXPECT_STREQ(self->spare.to, self->request.name);
	EXPECT_EQ(read_number(self->spare.sysfs, "version"), self->request.from_version);
	EXPECT_EQ(0, self->request.retries);
	EXPECT_EQ(0, self->request.stage_ns);
	EXPECT_EQ(0, self->request.pause_ns);
	EXPECT_EQ(0, self->request.longest_wait_ns);
	request_for(&self->request, "no-such-implementation");
	self->request.flags = BENTO_UPGRADE_DRY_RUN;
	EXPECT_EQ(-ENOENT, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
	EXPECT_EQ(upgrades, read_number(self->spare.sysfs, "upgrades"));
	EXPECT_EQ(refusals, read_number(self->spare.sysfs, "refusals"));
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(upgrade, there_and_back)
{
	static const char text[] = "written before\n";
	char path[256], back[sizeof(text)], name[64], implementation[300];
	unsigned long long upgrades = read_number(self->spare.sysfs, "upgrades");
	const struct bento_upgrade *of = &self->request;
	int fd;

	snprintf(path, sizeof(path), "%s/selftest-file", self->spare.dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(sizeof(text), write(fd, text, sizeof(text)));

	/* On a file that is open. */
	ASSERT_EQ(0, variant->ask(fd, &self->request, sizeof(self->request)));
	EXPECT_STREQ(self->spare.from, of->from_name);
	snprintf(implementation, sizeof(implementation), IMPLEMENTATIONS "/%s", self->spare.from);
	EXPECT_EQ(read_number(implementation, "version"), of->from_version);
	snprintf(implementation, sizeof(implementation), IMPLEMENTATIONS "/%s", self->spare.to);
	EXPECT_EQ(read_number(implementation, "version"), of->to_version);
	EXPECT_LT(0, of->stage_ns);
	EXPECT_LT(0, of->pause_ns);
	EXPECT_LE(of->drain_ns + of->transfer_ns, of->pause_ns);

	/* sysfs says the same. */
	ASSERT_TRUE(read_text(self->spare.sysfs, "implementation", name, sizeof(name)));
	EXPECT_STREQ(self->spare.to, name);
	EXPECT_EQ(of->to_version, read_number(self->spare.sysfs, "version"));
	EXPECT_EQ(upgrades + 1, read_number(self->spare.sysfs, "upgrades"));
	EXPECT_EQ(0, read_number(self->spare.sysfs, "last_error"));
	EXPECT_EQ(of->pause_ns, read_number(self->spare.sysfs, "last_pause_ns"));
	EXPECT_EQ(of->stage_ns, read_number(self->spare.sysfs, "last_stage_ns"));
	EXPECT_EQ(of->drain_ns, read_number(self->spare.sysfs, "last_drain_ns"));
	EXPECT_EQ(of->transfer_ns, read_number(self->spare.sysfs, "last_transfer_ns"));
	EXPECT_EQ(of->switch_ns, read_number(self->spare.sysfs, "last_switch_ns"));
	EXPECT_EQ(of->longest_wait_ns, read_number(self->spare.sysfs, "last_longest_wait_ns"));
	EXPECT_EQ(of->retries, read_number(self->spare.sysfs, "last_retries"));

	/* The file goes on. */
	EXPECT_EQ(sizeof(text), pread(fd, back, sizeof(back), 0));
	EXPECT_STREQ(text, back);
	EXPECT_EQ(0, fsync(fd));
	EXPECT_EQ(0, unlink(path));

	/* To itself, and back, on a file that is unlinked. */
	EXPECT_EQ(0, variant->ask(fd, &self->request, sizeof(self->request)));
	EXPECT_STREQ(self->spare.to, of->from_name);
	request_for(&self->request, self->spare.from);
	EXPECT_EQ(0, variant->ask(fd, &self->request, sizeof(self->request)));
	EXPECT_EQ(sizeof(text), pread(fd, back, sizeof(back), 0));
	EXPECT_STREQ(text, back);
	close(fd);
	EXPECT_EQ(upgrades + 3, read_number(self->spare.sysfs, "upgrades"));
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(upgrade, refusals_are_counted)
{
	unsigned long long refusals = read_number(self->spare.sysfs, "refusals");

	request_for(&self->request, "no-such-implementation");
	EXPECT_EQ(-ENOENT, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
	EXPECT_EQ(refusals + 1, read_number(self->spare.sysfs, "refusals"));
	EXPECT_EQ(ENOENT, read_number(self->spare.sysfs, "last_error"));
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(upgrade, frozen)
{
	char state[32];

	ASSERT_EQ(0, ioctl(self->spare.fd, FIFREEZE, 0));
	EXPECT_EQ(-EBUSY, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
	EXPECT_TRUE(read_text(self->spare.sysfs, "state", state, sizeof(state)));
	EXPECT_STREQ("frozen", state);
	ASSERT_EQ(0, ioctl(self->spare.fd, FITHAW, 0));
	EXPECT_TRUE(served_as_before(&self->spare));
	EXPECT_EQ(0, variant->ask(self->spare.fd, &self->request, sizeof(self->request)));
}

TEST_HARNESS_MAIN
