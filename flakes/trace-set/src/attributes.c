/* What extended attributes files have, and what the system says when asked for one that is not there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

static void say(const char *what, long length)
{
	printf("%s %ld %s\n", what, length, length < 0 ? strerror(errno) : "");
}

int main(int count, char **words)
{
	char room[256];
	int i;

	for (i = 1; i < count; i++) {
		say("size", (long)listxattr(words[i], 0, 0));
		say("names", (long)listxattr(words[i], room, sizeof room));
		say("one", (long)getxattr(words[i], "user.none", room, sizeof room));
		say("its size", (long)lgetxattr(words[i], "user.none", 0, 0));
		say("a capability", (long)getxattr(words[i], "security.capability", room, sizeof room));
	}
	return 0;
}
