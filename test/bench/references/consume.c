/* consume: reads stdin to its end and prints how many bytes there were. */
#include <stdio.h>
#include <unistd.h>

static char buffer[128 * 1024];

int main(void) {
  long long total = 0;
  ssize_t got;
  while ((got = read(STDIN_FILENO, buffer, sizeof buffer)) > 0) total += got;
  printf("%lld\n", total);
  return got < 0;
}
