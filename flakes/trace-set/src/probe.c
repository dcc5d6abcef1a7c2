/* A static program: what it reads, it reads by raw system calls, each file in a thread of its own.
 * With -d it tells a digest of its arguments instead. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct file {
	const char *path;
	char text[4096];
};

static void *look(void *argument)
{
	struct file *file = argument;
	long opened = syscall(SYS_openat, AT_FDCWD, file->path, O_RDONLY);

	if (opened < 0)
		strcpy(file->text, "absent\n");
	else
		syscall(SYS_pread64, opened, file->text, sizeof file->text - 1, 0L);
	return 0;
}

int main(int count, char **words)
{
	static struct file files[16];
	pthread_t threads[16];
	unsigned long digest = 14695981039346656037UL;
	int i;

	for (i = 1; i < count && i < 16; i++) {
		const char *letter;

		for (letter = words[i]; *letter; letter++)
			digest = (digest ^ (unsigned char)*letter) * 1099511628211UL;
		files[i].path = words[i];
	}
	if (count > 1 && !strcmp(words[1], "-d")) {
		printf("%lx\n", digest);
		return 0;
	}
	for (i = 1; i < count && i < 16; i++)
		if (pthread_create(&threads[i], 0, look, &files[i]))
			return 1;
	for (i = 1; i < count && i < 16; i++) {
		pthread_join(threads[i], 0);
		fputs(files[i].text, stdout);
	}
	return 0;
}
