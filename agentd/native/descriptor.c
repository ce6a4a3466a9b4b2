/* Descriptors: reading, writing, terminals, and epoll. */
#include "hawser.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

HAWSER_API int64_t hawser_read(int32_t fd, uint8_t *buffer, int64_t offset, int64_t length) {
  ssize_t count;
  do count = read(fd, buffer + offset, (size_t)length);
  while (count < 0 && errno == EINTR);
  return count < 0 ? -errno : count;
}

/*
 * Writes `head`, then `body` (which may be null), in one call. What the kernel did not take is not
 * written: the result says how much it took. No SIGPIPE: Node ignores it for the whole process.
 */
HAWSER_API int64_t hawser_write2(int32_t fd, uint8_t *head, int64_t head_offset, int64_t head_length, uint8_t *body,
                                 int64_t body_offset, int64_t body_length) {
  struct iovec parts[2] = {{head + head_offset, (size_t)head_length}, {NULL, 0}};
  int count = 1;
  if (body != NULL && body_length > 0) {
    parts[1].iov_base = body + body_offset;
    parts[1].iov_len = (size_t)body_length;
    count = 2;
  }
  ssize_t written;
  do written = writev(fd, parts, count);
  while (written < 0 && errno == EINTR);
  return written < 0 ? -errno : written;
}

/* Bytes that can be read at once (FIONREAD). */
HAWSER_API int32_t hawser_available(int32_t fd) {
  int bytes = 0;
  return ioctl(fd, FIONREAD, &bytes) < 0 ? -errno : bytes;
}

/* Not repeated on EINTR: Linux has closed the descriptor all the same (close(2)). */
HAWSER_API int32_t hawser_close(int32_t fd) {
  int32_t result = result_of(close(fd));
  return result == -EINTR ? 0 : result;
}

/* `path` is NUL-terminated. Close-on-exec always. */
HAWSER_API int32_t hawser_open(const uint8_t *path, int32_t flags, uint32_t mode) {
  int fd;
  do fd = open((const char *)path, flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  return result_of(fd);
}

HAWSER_API int32_t hawser_set_nonblock(int32_t fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  return result_of(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

HAWSER_API int32_t hawser_set_cloexec(int32_t fd) { return result_of(fcntl(fd, F_SETFD, FD_CLOEXEC)); }

/* Close-on-exec always. */
HAWSER_API int32_t hawser_dup3(int32_t from, int32_t to) { return result_of(dup3(from, to, O_CLOEXEC)); }

/* The same open file under another number. Close-on-exec always. */
HAWSER_API int32_t hawser_duplicate(int32_t fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? -errno : copy;
}

/* The capacity of a pipe in bytes, after setting it where `bytes` is above 0. */
HAWSER_API int32_t hawser_pipe_capacity(int32_t fd, int32_t bytes) {
  return result_of(bytes > 0 ? fcntl(fd, F_SETPIPE_SZ, bytes) : fcntl(fd, F_GETPIPE_SZ));
}

/* ---- terminals; on a master these speak of its slave (tty_ioctl(4)) -------------------------- */

HAWSER_API int32_t hawser_foreground_group(int32_t fd) {
  pid_t group = 0;
  return ioctl(fd, TIOCGPGRP, &group) < 0 ? -errno : group;
}

/* The character that means end of file, 0 where it is disabled; -EINVAL outside canonical mode. */
HAWSER_API int32_t hawser_terminal_eof(int32_t fd) {
  struct termios settings;
  if (tcgetattr(fd, &settings) < 0) return -errno;
  return settings.c_lflag & ICANON ? settings.c_cc[VEOF] : -EINVAL;
}

/* `out`: columns, rows, and both in pixels. */
HAWSER_API int32_t hawser_window_size(int32_t fd, uint16_t *out) {
  struct winsize size;
  if (ioctl(fd, TIOCGWINSZ, &size) < 0) return -errno;
  out[0] = size.ws_col;
  out[1] = size.ws_row;
  out[2] = size.ws_xpixel;
  out[3] = size.ws_ypixel;
  return 0;
}

HAWSER_API int32_t hawser_set_window_size(int32_t fd, uint32_t columns, uint32_t rows, uint32_t xpixel, uint32_t ypixel) {
  struct winsize size = {(unsigned short)rows, (unsigned short)columns, (unsigned short)xpixel, (unsigned short)ypixel};
  return result_of(ioctl(fd, TIOCSWINSZ, &size));
}

/* ---- how many there are ---------------------------------------------------------------------- */

/* For what must not fail: to list, signal and end what runs takes up to 64 pidfds and some directories. */
#define KEPT_MAX 96

/*
 * How many descriptors there are for more sessions and lines: from the lowest free number up to RLIMIT_NOFILE, but for those
 * that are kept. Below 0 where these are touched.
 */
HAWSER_API int32_t hawser_descriptors_to_spare(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  int soft = limit.rlim_cur < INT32_MAX ? (int)limit.rlim_cur : INT32_MAX;
  int kept = soft / 4 < KEPT_MAX ? soft / 4 : KEPT_MAX;
  int lowest = eventfd(0, EFD_CLOEXEC);
  if (lowest < 0) return -kept;
  close(lowest);
  return soft - lowest - kept;
}

/* ---- epoll ----------------------------------------------------------------------------------- */

int32_t hawser_epoll_create(void) { return result_of(epoll_create1(EPOLL_CLOEXEC)); }

/* `operation` is EPOLL_CTL_*; an event comes back as (fd, generation, events). */
HAWSER_API int32_t hawser_epoll_control(int32_t epoll, int32_t operation, int32_t fd, uint32_t events, uint32_t generation) {
  struct epoll_event event;
  memset(&event, 0, sizeof event);
  event.events = events;
  event.data.u64 = (uint64_t)generation << 32 | (uint32_t)fd;
  return result_of(epoll_ctl(epoll, operation, fd, &event));
}

/* What is ready now, without waiting: `out` gets three words for each of at most 64 events. */
int32_t hawser_epoll_wait(int32_t epoll, uint32_t *out) {
  struct epoll_event events[64];
  int count;
  do count = epoll_wait(epoll, events, 64, 0);
  while (count < 0 && errno == EINTR);
  if (count < 0) return -errno;
  for (int i = 0; i < count; i++) {
    out[3 * i] = (uint32_t)events[i].data.u64;
    out[3 * i + 1] = (uint32_t)(events[i].data.u64 >> 32);
    out[3 * i + 2] = events[i].events;
  }
  return count;
}
