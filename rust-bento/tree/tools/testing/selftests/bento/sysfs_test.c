// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/fs/bento: what it tells, and upgrades that are asked for there.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "../kselftest_harness.h"
#include "common.h"

FIXTURE(sysfs)
{
	struct spare spare;
};

FIXTURE_SETUP(sysfs)
{
	const char *missing = find_spare(&self->spare);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(sysfs)
{
	give_back(&self->spare);
}

/* Each file has one line with one value. Answers with the number of files. */
static int check_files(struct __test_metadata *_metadata, const char *dir)
{
	char text[4096];
	struct dirent *entry;
	DIR *files = opendir(dir);
	int number = 0;

	ASSERT_NE(NULL, files);
	while ((entry = readdir(files))) {
		if (entry->d_type != DT_REG || !strcmp(entry->d_name, "uevent"))
			continue;
		EXPECT_TRUE(read_text(dir, entry->d_name, text, sizeof(text))) {
			TH_LOG("%s/%s", dir, entry->d_name);
		}
		EXPECT_EQ(NULL, strchr(text, '\n'));
		EXPECT_EQ(NULL, strchr(text, ' '));
		number++;
	}
	closedir(files);
	return number;
}

TEST_F(sysfs, one_value_a_file)
{
	char dir[300];

	EXPECT_EQ(17, check_files(_metadata, self->spare.sysfs));
	snprintf(dir, sizeof(dir), IMPLEMENTATIONS "/%s", self->spare.from);
	EXPECT_EQ(5, check_files(_metadata, dir));
}

TEST_F(sysfs, implementations)
{
	unsigned long long users;
	char from[300], to[300], one[64], other[64];

	snprintf(from, sizeof(from), IMPLEMENTATIONS "/%s", self->spare.from);
	snprintf(to, sizeof(to), IMPLEMENTATIONS "/%s", self->spare.to);
	ASSERT_TRUE(read_text(from, "format", one, sizeof(one)));
	ASSERT_TRUE(read_text(to, "format", other, sizeof(other)));
	EXPECT_STREQ(one, other);
	users = read_number(to, "users");
	EXPECT_LE(1, read_number(from, "users"));
	ASSERT_EQ(0, write_text(self->spare.sysfs, "upgrade", self->spare.to));
	EXPECT_EQ(users + 1, read_number(to, "users"));
	ASSERT_EQ(0, write_text(self->spare.sysfs, "upgrade", self->spare.from));
	EXPECT_EQ(users, read_number(to, "users"));
}

TEST_F(sysfs, upgrade)
{
	unsigned long long upgrades = read_number(self->spare.sysfs, "upgrades");
	unsigned long long refusals = read_number(self->spare.sysfs, "refusals");
	char name[64];

	ASSERT_EQ(0, write_text(self->spare.sysfs, "upgrade", self->spare.to));
	ASSERT_TRUE(read_text(self->spare.sysfs, "implementation", name, sizeof(name)));
	EXPECT_STREQ(self->spare.to, name);
	ASSERT_TRUE(read_text(self->spare.sysfs, "upgrade", name, sizeof(name)));
	EXPECT_STREQ(self->spare.to, name);
	/* As echo writes it. */
	snprintf(name, sizeof(name), "%s\n", self->spare.from);
	ASSERT_EQ(0, write_text(self->spare.sysfs, "upgrade", name));
	EXPECT_EQ(-ENOENT, write_text(self->spare.sysfs, "upgrade", "no-such-implementation"));
	EXPECT_EQ(ENOENT, read_number(self->spare.sysfs, "last_error"));
	EXPECT_EQ(upgrades + 2, read_number(self->spare.sysfs, "upgrades"));
	EXPECT_EQ(refusals + 1, read_number(self->spare.sysfs, "refusals"));
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(sysfs, names_that_cannot_be)
{
	char name[64];

	EXPECT_EQ(-EINVAL, write_text(self->spare.sysfs, "upgrade", "\n"));
	memset(name, 'x', sizeof(name));
	name[32] = '\0';
	EXPECT_EQ(-EINVAL, write_text(self->spare.sysfs, "upgrade", name));
	name[31] = '\0';
	EXPECT_EQ(-ENOENT, write_text(self->spare.sysfs, "upgrade", name));
	EXPECT_EQ(-EINVAL, write_text(self->spare.sysfs, "upgrade", "\xff\xfe"));
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(sysfs, what_is_told_cannot_be_written)
{
	static const char *const names[] = {
		"implementation", "version", "state", "upgrades", "refusals", "last_error",
		"last_pause_ns",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		EXPECT_GT(0, write_text(self->spare.sysfs, names[i], "1"));
	EXPECT_TRUE(served_as_before(&self->spare));
}

TEST_F(sysfs, limits)
{
	static const struct {
		const char *name, *most, *more;
	} limits[] = {
		{ "drain_limit_us", "1000000", "1000001" },
		{ "try_limit", "1000", "1001" },
		{ "total_limit_ms", "60000", "60001" },
	};
	static const char *const wrong[] = {
		"0", "-1", "", "x", "1 2", "4294967296", "18446744073709551617",
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		const char *name = limits[i].name;
		char before[64];

		ASSERT_TRUE(read_text(self->spare.sysfs, name, before, sizeof(before)));
		EXPECT_EQ(0, write_text(self->spare.sysfs, name, "1"));
		EXPECT_EQ(1, read_number(self->spare.sysfs, name));
		EXPECT_EQ(0, write_text(self->spare.sysfs, name, limits[i].most));
		EXPECT_EQ(-EINVAL, write_text(self->spare.sysfs, name, limits[i].more));
		for (size_t j = 0; j < ARRAY_SIZE(wrong); j++) {
			/* Nothing at all is not even passed on. */
			if (*wrong[j])
				EXPECT_EQ(-EINVAL, write_text(self->spare.sysfs, name, wrong[j]));
		}
		EXPECT_EQ(strtoull(limits[i].most, NULL, 10), read_number(self->spare.sysfs, name));
		EXPECT_EQ(0, write_text(self->spare.sysfs, name, before));
	}
}

/* Receives uevents until one has the field, for a second at most. */
static bool receive(int socket, const char *path, const char *const *fields, size_t number)
{
	char message[8192];
	ssize_t len;

	while ((len = recv(socket, message, sizeof(message) - 1, 0)) > 0) {
		size_t found = 0;

		message[len] = '\0';
		if (!strstr(message, path))
			continue;
		for (char *at = message; at < message + len; at += strlen(at) + 1) {
			for (size_t i = 0; i < number; i++)
				found += !strncmp(at, fields[i], strlen(fields[i]));
		}
		if (found == number)
			return true;
	}
	return false;
}

TEST_F(sysfs, uevents)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	struct timeval second = { .tv_sec = 1 };
	const char *path = self->spare.sysfs + strlen("/sys");
	char from[64], to[64], enoent[32];
	const char *const upgrade[] = { "BENTO_EVENT=upgrade", from, to, "BENTO_PAUSE_NS=" };
	const char *const refused[] = {
		"BENTO_EVENT=refused", from, "BENTO_TO=no-such-implementation", enoent,
	};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, bind(fd, (void *)&address, sizeof(address)));
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)));
	snprintf(from, sizeof(from), "BENTO_FROM=%s", self->spare.from);
	snprintf(to, sizeof(to), "BENTO_TO=%s", self->spare.to);
	snprintf(enoent, sizeof(enoent), "BENTO_ERROR=%d", ENOENT);
	ASSERT_EQ(0, write_text(self->spare.sysfs, "upgrade", self->spare.to));
	EXPECT_TRUE(receive(fd, path, upgrade, ARRAY_SIZE(upgrade)));
	ASSERT_EQ(0, write_text(self->spare.sysfs, "upgrade", self->spare.from));
	EXPECT_EQ(-ENOENT, write_text(self->spare.sysfs, "upgrade", "no-such-implementation"));
	EXPECT_TRUE(receive(fd, path, refused, ARRAY_SIZE(refused)));
	close(fd);
}

TEST_HARNESS_MAIN
