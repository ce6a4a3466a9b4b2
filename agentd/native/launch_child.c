/*
 * The child of a launch, from clone to execve. It runs in the agent's memory, beside the agent: raw
 * system calls only (syscalls.h), no libc function, nothing written outside its own struct launch.
 */
#include "launch.h"
#include "hawser.h"
#include "syscalls.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* Lets the agent go on, where it waits for that. */
static void tell_set_up(const struct launch *launch) {
  int *word = (int *)&launch->set_up;
  if (__atomic_exchange_n(word, SET_UP, __ATOMIC_SEQ_CST) == AWAITED) RAW3(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1);
}

__attribute__((noreturn)) static void fail(const struct launch *launch, int stage, long error, int detail, int mode) {
  tell_set_up(launch);
  struct failure record = {stage, (int32_t)-error, detail, mode};
  RAW3(SYS_write, launch->status, &record, sizeof record);
  for (;;) RAW1(SYS_exit_group, 127);
}

#define TRY(stage, detail, call)                               \
  do {                                                         \
    long try_result = (call);                                  \
    if (try_result < 0) fail(launch, stage, try_result, detail, -1); \
  } while (0)

static void reset_dispositions(const struct launch *launch) {
  /* struct sigaction as the kernel has it: handler, flags, restorer, mask; all zero is SIG_DFL. */
  uint64_t action[4] = {0, 0, 0, 0};
  for (int signal = 1; signal <= 64; signal++) {
    int due = (launch->to_reset >> (signal - 1)) & 1;
    if (due && signal != SIGKILL && signal != SIGSTOP) RAW4(SYS_rt_sigaction, signal, action, 0, 8);
  }
}

/* The slave is opened afresh: what the agent holds is non-blocking, and shared. */
static void open_terminal(struct launch *launch) {
  long fd = RAW4(SYS_openat, AT_FDCWD, launch->slave_path, O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
  if (fd < 0) fail(launch, STAGE_TERMINAL, fd, -1, -1);
  if (fd < 3) TRY(STAGE_TERMINAL, -1, fd = RAW3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3));
  TRY(STAGE_TERMINAL, -1, RAW3(SYS_ioctl, fd, TIOCSCTTY, 0));
  launch->standard[0] = launch->standard[1] = launch->standard[2] = (int)fd;
}

static void open_null(struct launch *launch) {
  long fd = RAW4(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
  if (fd >= 0 && fd < 3) fd = RAW3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
  if (fd < 0) fail(launch, STAGE_STDIO, fd, 0, -1);
  launch->standard[0] = (int)fd;
}

/*
 * A command that runs as somebody else must still be able to open /dev/stderr: a pipe's inode
 * belongs to whoever made it and has mode 0600. A terminal keeps its group (tty). Not fatal: only
 * the reopening needs it.
 */
static void give_away_standard_streams(const struct launch *launch) {
  const struct request_header *request = launch->request;
  uint32_t gid = request->flags & FLAG_TERMINAL ? (uint32_t)-1 : request->gid;
  for (int fd = request->flags & FLAG_STDIN_NULL ? 1 : 0; fd < 3; fd++) {
    RAW3(SYS_fchown, fd, request->uid, gid);
  }
}

/*
 * Everything but 0 to 2 and the status pipe. Before anything that may hang (chdir to a dead
 * network file system): this child has a copy of every descriptor of the agent, and while it
 * holds, say, the write end of another session's stdin, closing that reaches nobody.
 */
static void close_the_rest(const struct launch *launch) {
  unsigned status = (unsigned)launch->status;
  long result = status > 3 ? RAW3(SYS_close_range, 3, status - 1, 0) : 0;
  if (result == 0) result = RAW3(SYS_close_range, status + 1, ~0u, 0);
  if (result == 0) return;
  /* Before Linux 5.9: one by one. The agent opens everything close-on-exec, this is the belt. */
  for (unsigned fd = 3; fd < 65536; fd++) {
    if (fd != status) RAW1(SYS_close, fd);
  }
}

/*
 * Where clone3 could not place the child (seccomp, an old kernel): before anything else, so that
 * nothing of it is ever outside. A cgroup's own limit on processes does not refuse a move.
 */
static void join_cgroup(const struct launch *launch) {
  long fd = RAW4(SYS_openat, launch->request->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) fail(launch, STAGE_CGROUP, fd, -1, -1);
  TRY(STAGE_CGROUP, -1, RAW3(SYS_write, fd, "0", 1));
  RAW1(SYS_close, fd);
}

static void set_oom_score(const struct launch *launch) {
  char text[16];
  char *end = text + sizeof text;
  char *start = end;
  int32_t value = launch->request->oom_score_adj;
  uint32_t magnitude = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
  do *--start = (char)('0' + magnitude % 10);
  while ((magnitude /= 10) > 0);
  if (value < 0) *--start = '-';
  long fd = RAW4(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) fail(launch, STAGE_OOM_SCORE, fd, value, -1);
  TRY(STAGE_OOM_SCORE, value, RAW3(SYS_write, fd, start, end - start));
  RAW1(SYS_close, fd);
}

static void set_rlimits(const struct launch *launch) {
  for (uint32_t i = 0; i < launch->request->rlimit_count; i++) {
    const struct request_rlimit *limit = &launch->rlimits[i];
    TRY(STAGE_RLIMIT, (int)i, RAW4(SYS_prlimit64, 0, limit->resource, &limit->soft, 0));
  }
}

/* Raw, so that only this process changes: libc's setuid signals every thread of the agent. */
static void set_credentials(const struct launch *launch) {
  const struct request_header *request = launch->request;
  TRY(STAGE_GROUPS, -1, RAW2(SYS_setgroups, request->group_count, launch->groups));
  TRY(STAGE_GID, -1, RAW3(SYS_setresgid, request->gid, request->gid, request->gid));
  TRY(STAGE_UID, -1, RAW3(SYS_setresuid, request->uid, request->uid, request->uid));
}

/* st_mode of a path, following links, or -1. statx(2): its layout is the same everywhere. */
static int mode_of(const char *path) {
  union {
    uint8_t bytes[256];
    struct {
      uint32_t mask, blksize;
      uint64_t attributes;
      uint32_t nlink, uid, gid;
      uint16_t mode;
    } fields;
  } found;
  if (RAW5(SYS_statx, AT_FDCWD, path, 0, 3 /* STATX_TYPE | STATX_MODE */, &found) < 0) return -1;
  return found.fields.mode;
}

/*
 * As execvpe(3) goes through PATH: what is not there is passed over, what may not be executed is
 * remembered, anything else is the answer. One thing more: a file that is there although execve
 * says ENOENT lacks its interpreter, and going on would only hide that.
 */
__attribute__((noreturn)) static void execute(const struct launch *launch) {
  struct failure worst = {STAGE_EXEC, ENOENT, 0, -1};
  for (uint32_t i = 0; i < launch->request->candidate_count; i++) {
    const char *path = launch->candidates[i];
    long error = RAW3(SYS_execve, path, launch->arguments, launch->variables);
    if (error == -ENOTDIR || error == -ESTALE || error == -ENODEV || error == -ETIMEDOUT) {
      if (worst.error == ENOENT) worst = (struct failure){STAGE_EXEC, (int32_t)-error, (int32_t)i, -1};
      continue;
    }
    int mode = mode_of(path);
    if (error == -ENOENT && mode == -1) continue;
    if (error != -EACCES) fail(launch, STAGE_EXEC, error, (int)i, mode);
    if (worst.error != EACCES) worst = (struct failure){STAGE_EXEC, EACCES, (int32_t)i, mode};
  }
  fail(launch, STAGE_EXEC, -worst.error, worst.detail, worst.mode);
}

/*
 * /dev/null and the oom score come before the limits, since they need descriptors that a
 * low RLIMIT_NOFILE would refuse; chdir and execve come after the credentials, since they must be
 * judged as the command's user.
 */
void launch_child(void *argument) {
  struct launch *launch = argument;
  const struct request_header *request = launch->request;

  if (launch->joins_cgroup) join_cgroup(launch);
  reset_dispositions(launch);
  TRY(STAGE_SETSID, -1, RAW0(SYS_setsid));
  if (request->timer_slack_ns > 0) RAW5(SYS_prctl, PR_SET_TIMERSLACK, request->timer_slack_ns, 0, 0, 0);
  if (request->flags & FLAG_TERMINAL) open_terminal(launch);
  if (request->flags & FLAG_STDIN_NULL) open_null(launch);
  for (int fd = 0; fd < 3; fd++) TRY(STAGE_STDIO, fd, RAW3(SYS_dup3, launch->standard[fd], fd, 0));
  close_the_rest(launch);
  if (request->flags & FLAG_OOM_SCORE) set_oom_score(launch);
  set_rlimits(launch);
  if (request->flags & FLAG_NICE) {
    TRY(STAGE_NICE, request->nice, RAW3(SYS_setpriority, PRIO_PROCESS, 0, request->nice));
  }
  RAW1(SYS_umask, request->umask);
  if (request->flags & FLAG_CREDENTIALS) {
    give_away_standard_streams(launch);
    set_credentials(launch);
  }
  if (request->flags & FLAG_NO_NEW_PRIVS) {
    TRY(STAGE_NO_NEW_PRIVS, -1, RAW5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  }
  /* Nothing before this may hang: the agent waits. */
  tell_set_up(launch);
  if (request->flags & FLAG_CWD) TRY(STAGE_CWD, -1, RAW1(SYS_chdir, launch->cwd));
  TRY(STAGE_SIGMASK, -1, RAW4(SYS_rt_sigprocmask, SIG_SETMASK, &request->signal_mask, 0, 8));
  execute(launch);
}
