/* What the two halves of a launch share: launcher.c, the agent's, and launch_child.c, the child's. */
#ifndef HAWSER_LAUNCH_H
#define HAWSER_LAUNCH_H

#include <stddef.h>
#include <stdint.h>

/* Positions in `launchStages` of protocol/src/errors.ts; the launcher's tests compare. */
enum stage {
  STAGE_VALIDATE,
  STAGE_LOOKUP,
  STAGE_PIPE,
  STAGE_CLONE,
  STAGE_SETSID,
  STAGE_TERMINAL,
  STAGE_STDIO,
  STAGE_CGROUP,
  STAGE_RLIMIT,
  STAGE_NICE,
  STAGE_OOM_SCORE,
  STAGE_UMASK,
  STAGE_GROUPS,
  STAGE_GID,
  STAGE_UID,
  STAGE_NO_NEW_PRIVS,
  STAGE_CWD,
  STAGE_SIGMASK,
  STAGE_EXEC,
};

enum flag {
  FLAG_STDIN_NULL = 1,
  FLAG_TERMINAL = 2,
  FLAG_CREDENTIALS = 4,
  FLAG_NO_NEW_PRIVS = 8,
  FLAG_NICE = 16,
  FLAG_OOM_SCORE = 32,
  FLAG_CWD = 64,
};

/*
 * The request, as agentd/src/processes/launch-request.ts encodes it: this header, `rlimit_count`
 * limits, `group_count` group ids padded to 8 bytes, and then NUL-terminated strings: the
 * candidates, argv, env, the cwd where FLAG_CWD, the slave's path where FLAG_TERMINAL.
 */
struct request_header {
  uint32_t flags;
  uint32_t candidate_count;
  uint32_t argument_count;
  uint32_t variable_count;
  uint32_t rlimit_count;
  uint32_t group_count;
  int32_t nice;
  int32_t oom_score_adj;
  uint32_t umask;
  uint32_t uid;
  uint32_t gid;
  int32_t cgroup_fd; /* of the cgroup v2 leaf's directory, or -1 */
  uint64_t signal_mask;
  uint32_t timer_slack_ns; /* 0 leaves it as it is */
  uint32_t reserved;
};

struct request_rlimit {
  uint64_t resource;
  uint64_t soft;
  uint64_t hard;
};

/* What a child that fails writes to the status pipe. */
struct failure {
  int32_t stage;
  int32_t error;
  int32_t detail; /* candidate, limit or descriptor number, by stage */
  int32_t mode;   /* st_mode of the candidate, -1 where unknown */
};

/* How far a child is. */
enum set_up {
  SETTING_UP,
  AWAITED, /* the agent waits on it as on a futex */
  SET_UP,  /* nothing but chdir and execve is left, or it has failed */
};

struct launch {
  size_t block_bytes;
  struct launch *next_free;
  const struct request_header *request;
  const struct request_rlimit *rlimits;
  const uint32_t *groups;
  char **candidates;
  char **arguments;
  char **variables;
  char *cwd;
  char *slave_path;
  int standard[3]; /* the child's ends, all above 2 */
  int status;      /* write end, close-on-exec, above 2 */
  int credentialed;
  int shares_memory;
  int joins_cgroup; /* the child is not born in its cgroup: it has to enter it itself */
  int64_t launched_ms; /* CLOCK_MONOTONIC_COARSE */
  int set_up; /* an `enum set_up`, changed by both sides where they share memory */
  uint64_t to_reset; /* signals that may not have the default disposition, 1 << (number - 1) each */
};

/* The child's life up to execve; never returns. `argument` is its struct launch. */
void launch_child(void *argument);

#endif
