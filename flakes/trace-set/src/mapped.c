/* Writes what it sees of a file through memory, without ever reading it. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

int main(int count, char **words)
{
	struct stat seen;
	int file = count > 1 ? open(words[1], O_RDONLY) : -1;
	const char *text;

	if (file < 0 || fstat(file, &seen))
		return 1;
	text = mmap(0, (size_t)seen.st_size, PROT_READ, MAP_PRIVATE, file, 0);
	return text == MAP_FAILED || fwrite(text, 1, (size_t)seen.st_size, stdout) != (size_t)seen.st_size;
}
