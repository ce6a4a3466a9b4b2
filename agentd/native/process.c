/* Waiting for, signalling and limiting processes. */
#include "hawser.h"
#include "syscalls.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_FOR_PIDFD 3 /* P_PIDFD, Linux 5.4 */

/* The waitid system call itself: libc's has no rusage. */
static long wait_raw(int type, int id, siginfo_t *info, int options, struct rusage *usage) {
  long result;
  memset(info, 0, sizeof *info);
  do result = RAW5(SYS_waitid, type, id, info, options, usage);
  while (result == -EINTR);
  return result;
}

static double microseconds(struct timeval time) { return (double)time.tv_sec * 1e6 + (double)time.tv_usec; }

/*
 * Reaps the child behind a pidfd, without waiting. 1 when it was reaped, 0 when it still runs.
 * `out`: si_code (CLD_*), status or signal, user and system time in us, maxrss KiB, minor faults,
 * major faults, voluntary and involuntary context switches, blocks in, blocks out. Doubles, since
 * JavaScript's numbers are.
 */
HAWSER_API int32_t hawser_wait_pidfd(int32_t pidfd, double *out) {
  siginfo_t info;
  struct rusage usage;
  long result = wait_raw(WAIT_FOR_PIDFD, pidfd, &info, WEXITED | WNOHANG, &usage);
  if (result < 0) return (int32_t)result;
  if (info.si_pid == 0) return 0;
  out[0] = info.si_code;
  out[1] = info.si_status;
  out[2] = microseconds(usage.ru_utime);
  out[3] = microseconds(usage.ru_stime);
  out[4] = (double)usage.ru_maxrss;
  out[5] = (double)usage.ru_minflt;
  out[6] = (double)usage.ru_majflt;
  out[7] = (double)usage.ru_nvcsw;
  out[8] = (double)usage.ru_nivcsw;
  out[9] = (double)usage.ru_inblock;
  out[10] = (double)usage.ru_oublock;
  return 1;
}

/* The pid of some dead child that nobody has waited for yet, or 0. It stays a zombie. */
HAWSER_API int32_t hawser_next_zombie(void) {
  siginfo_t info;
  long result = wait_raw(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT, NULL);
  if (result == -ECHILD) return 0;
  return result < 0 ? (int32_t)result : info.si_pid;
}

/* 1 when the child was dead and is reaped, 0 when it still runs. */
HAWSER_API int32_t hawser_reap(int32_t pid) {
  siginfo_t info;
  long result = wait_raw(P_PID, pid, &info, WEXITED | WNOHANG, NULL);
  if (result < 0) return (int32_t)result;
  return info.si_pid == pid;
}

/* A descriptor of a process, close-on-exec: of that process for ever, whoever has its pid later. */
HAWSER_API int32_t hawser_open_pidfd(int32_t pid) { return (int32_t)RAW2(SYS_pidfd_open, pid, 0); }

HAWSER_API int32_t hawser_signal_pidfd(int32_t pidfd, int32_t signal) {
  return (int32_t)RAW4(SYS_pidfd_send_signal, pidfd, signal, 0, 0);
}

/* A negative pid is a process group. */
HAWSER_API int32_t hawser_kill(int32_t pid, int32_t signal) { return (int32_t)RAW2(SYS_kill, pid, signal); }

/* Either pair may be null. {soft, hard}; no limit is UINT64_MAX. */
HAWSER_API int32_t hawser_prlimit(int32_t pid, int32_t resource, const uint64_t *new_pair, uint64_t *old_pair) {
  return (int32_t)RAW4(SYS_prlimit64, pid, resource, new_pair, old_pair);
}

/* Orphans of this process's descendants become its own children (PR_SET_CHILD_SUBREAPER). */
HAWSER_API int32_t hawser_become_subreaper(void) { return result_of(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)); }

/* Fills a buffer with random bytes (getrandom(2)); waits where the kernel has none yet, at a boot. */
HAWSER_API int64_t hawser_random(uint8_t *buffer, int64_t bytes) { return RAW3(SYS_getrandom, buffer, bytes, 0); }

HAWSER_API int32_t hawser_page_bytes(void) { return (int32_t)sysconf(_SC_PAGESIZE); }

/* Microseconds since boot, suspension included: the clock of start times in /proc. */
HAWSER_API int64_t hawser_uptime_us(void) {
  struct timespec time;
  if (clock_gettime(CLOCK_BOOTTIME, &time) < 0) return -errno;
  return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}
