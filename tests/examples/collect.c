/*
 * The collector of pipeline.ini: no program, but a function of a shared object (entry=). What exit(3) does is done when
 * it returns.
 */
#include <stdio.h>

int collect(int argc, char **argv);

int collect(int argc, char **argv)
{
	char line[256];
	int n = 0;

	(void)argc, (void)argv;
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin) != NULL)
		printf("%4d  %s", ++n, line);
	printf("all %d jobs are done\n", n);
	return 0;
}
