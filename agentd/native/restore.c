/* What a guest needs that was restored from a snapshot: the time of day, and randomness that no other copy of it has. */
#include "hawser.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* Linux UAPI random.h; spelled out, so that no kernel headers are needed. */
#define RANDOM_ADD_ENTROPY 0x40085203 /* RNDADDENTROPY */
#define RANDOM_RESEED 0x5207          /* RNDRESEEDCRNG, Linux 4.14 */

/* Sets CLOCK_REALTIME, microseconds since 1970. Needs CAP_SYS_TIME. */
HAWSER_API int32_t hawser_set_clock(int64_t us) {
  struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
  return result_of(clock_settime(CLOCK_REALTIME, &time));
}

/*
 * Mixes bytes into the kernel's entropy pool, credits eight bits for each, and has the generator reseeded at once
 * (random(4)). Needs CAP_SYS_ADMIN.
 */
HAWSER_API int32_t hawser_add_entropy(const uint8_t *bytes, int32_t length) {
  /* struct rand_pool_info: bits, bytes, and the bytes themselves. */
  if (length < 0 || length > 1 << 20) return -EINVAL;
  int32_t *info = malloc(2 * sizeof *info + (size_t)length);
  if (info == NULL) return -ENOMEM;
  info[0] = length * 8;
  info[1] = length;
  memcpy(info + 2, bytes, (size_t)length);
  int fd = open("/dev/random", O_WRONLY | O_CLOEXEC);
  int32_t result = fd < 0 ? -errno : result_of(ioctl(fd, RANDOM_ADD_ENTROPY, info));
  if (result >= 0) ioctl(fd, RANDOM_RESEED);
  if (fd >= 0) close(fd);
  free(info);
  return result;
}
