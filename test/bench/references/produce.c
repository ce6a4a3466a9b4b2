/* produce BYTES WRITE_BYTES [PAUSE_US]: writes BYTES to stdout (0: without end), WRITE_BYTES at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  long long left = atoll(argv[1]);
  int endless = left == 0;
  size_t write_bytes = (size_t)atoll(argv[2]);
  useconds_t pause_us = argc > 3 ? (useconds_t)atoi(argv[3]) : 0;
  char *buffer = calloc(1, write_bytes);
  if (!buffer) return 1;

  while (endless || left > 0) {
    size_t want = endless || left > (long long)write_bytes ? write_bytes : (size_t)left;
    ssize_t written = write(STDOUT_FILENO, buffer, want);
    if (written < 0) return 1;
    left -= written;
    if (pause_us) usleep(pause_us);
  }
  return 0;
}
