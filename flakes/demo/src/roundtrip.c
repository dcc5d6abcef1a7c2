// pack: standard input as gzip to standard output. unpack: the other way round.
#include <stdio.h>
#include <string.h>
#include <zlib.h>

static int pack(void) {
    char buffer[65536];
    gzFile out = gzdopen(1, "wb9");
    if (!out) return 1;
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, stdin)) > 0;)
        if (gzwrite(out, buffer, (unsigned)n) != (int)n) return 1;
    return gzclose(out) == Z_OK ? 0 : 1;
}

static int unpack(void) {
    char buffer[65536];
    gzFile in = gzdopen(0, "rb");
    if (!in) return 1;
    int n;
    while ((n = gzread(in, buffer, sizeof buffer)) > 0)
        if (fwrite(buffer, 1, (size_t)n, stdout) != (size_t)n) return 1;
    return n == 0 && fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "pack")) return pack();
    if (argc == 2 && !strcmp(argv[1], "unpack")) return unpack();
    fputs("usage: roundtrip pack|unpack\n", stderr);
    return 2;
}
