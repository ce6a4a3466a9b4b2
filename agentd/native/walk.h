/* Whose descendant a process is, where no cgroup says so. */
#ifndef HAWSER_WALK_H
#define HAWSER_WALK_H

#include "process_table.h"

/* A member that was seen before, and what it was then. */
struct known_process {
  uint64_t start_ticks;
  int32_t pid;
  int32_t session;
};

/*
 * What makes a process a member: it is the leader; it was one before, or has the mark, if it is an
 * orphan; its parent is one; one is in its session (setsid(2)).
 *
 * Who has the pid of a member that is dead may have been started within the same tick of the clock: so
 * it must also be an orphan, in the session where it was seen or in one of its own.
 */
struct walk {
  int32_t agent;  /* orphans are its children, all but `foreign`; 0: the agent is gone, anybody may be one */
  int32_t leader; /* while it was not waited for, else 0 */
  /* The mark in the timer slack, which a fork and an execve keep; 0 and 0 for none. */
  uint32_t slack_first;
  uint32_t slack_last;
  /* The mark in the environment, `NAME=value`; whether the value must end there. */
  const char *marker;
  int32_t marker_bytes;
  int32_t marker_is_prefix;
  const struct known_process *known;
  int32_t known_count;
  int32_t foreign_count;
  const int32_t *foreign; /* children of the agent that are somebody else's */
  /* Without an agent: others, that live and have the same range of timer slacks. */
  const int32_t *rivals;
  int32_t rival_count;
};

/*
 * The members among `count` processes, which are moved to the front of the table: how many. The
 * table is by ascending pid, and stays so as far as the members go.
 */
long walk_members(int proc, const struct walk *walk, struct process *table, long count);

#endif
