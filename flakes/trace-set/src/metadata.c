/* What a folder shows to a program: names in their order, and what stat says but for the device. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int main(int count, char **words)
{
	struct dirent **entries;
	FILE *out = count > 2 ? fopen(words[2], "w") : 0;
	int number = out ? scandir(words[1], &entries, 0, by_name) : -1;

	for (int i = 0; i < number; i++) {
		char path[4096];
		struct stat seen;

		snprintf(path, sizeof path, "%s/%s", words[1], entries[i]->d_name);
		if (entries[i]->d_name[0] == '.' || lstat(path, &seen))
			continue;
		fprintf(out, "%s %d %o %ld %ld.%09ld\n", entries[i]->d_name, entries[i]->d_type, seen.st_mode,
			S_ISDIR(seen.st_mode) ? 0L : (long)seen.st_size, (long)seen.st_mtim.tv_sec, seen.st_mtim.tv_nsec);
	}
	return number < 0 || fclose(out);
}
