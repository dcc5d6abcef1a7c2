static const char where[] = __FILE__;

int answer(void)
{
	return 42 + (where[0] == 0);
}
