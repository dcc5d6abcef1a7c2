/* The build folder and the program's own path, in text and in debugging information. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

int main(void)
{
	char folder[4096], copy[64];
	static const wchar_t wide[] = L"" __FILE__;

	strcpy(copy, __FILE__);
	printf("%s %s %ls\n", getcwd(folder, sizeof folder), copy, wide);
	return 0;
}
