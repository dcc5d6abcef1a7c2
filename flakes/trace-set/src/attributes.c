/* Whether a folder has extended attributes, and what the system says when asked. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

int main(int count, char **words)
{
	char list[256];
	long length = count > 1 ? (long)listxattr(words[1], list, sizeof list) : 0;

	printf("%ld %s\n", length, length < 0 ? strerror(errno) : "");
	return 0;
}
