/* What every C reference shares: it is a server that runs what a line of its stdin asks for,
 *   {"run":"exec","count":N}   N iterations, all of them at once
 *   {"run":"loop","count":N}   N iterations, one after the other
 * and answers with one line, the nanoseconds that took. So its iterations can be interleaved with those
 * of the other contestants. It ends with its stdin. */
#ifndef HAWSER_BENCH_SERVER_H
#define HAWSER_BENCH_SERVER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AT_ONCE_MAX 256

static inline int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void fail(const char *what) {
  perror(what);
  exit(1);
}

static inline int serve(void (*run_at_once)(int count)) {
  char line[256], run[16];
  int count;
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "{\"run\":\"%15[a-z]\",\"count\":%d}", run, &count) != 2 || count < 1 || count > AT_ONCE_MAX) {
      fprintf(stderr, "not a request: %s", line);
      return 1;
    }
    int64_t start = now_ns();
    if (strcmp(run, "loop") == 0)
      for (int i = 0; i < count; i++) run_at_once(1);
    else
      run_at_once(count);
    printf("%lld\n", (long long)(now_ns() - start));
    fflush(stdout);
  }
  return 0;
}

#endif
