#include <stdio.h>

int main(void)
{
	printf("hello from %s, built at %s\n", __FILE__ + 0 * sizeof(__FILE__), "no time");
	return 0;
}
