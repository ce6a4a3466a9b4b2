/* How the scheduler treats the agent's thread. */
#include "hawser.h"
#include "syscalls.h"

#include <sched.h>
#include <stddef.h>
#include <string.h>

/* struct sched_attr of sched_setattr(2), its first version. */
struct scheduling {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime; /* of an ordinary process its slice in ns, since Linux 6.12; before, nobody looks at it */
  uint64_t deadline;
  uint64_t period;
};

/* What it starts has no part in any of this. */
#define RESET_ON_FORK 1 /* SCHED_FLAG_RESET_ON_FORK */

/* As it is most of the time. Without a size: it is somebody else's to say. */
static struct scheduling usual;
static int goes_first;

static int32_t set(const struct scheduling *scheduling) { return (int32_t)RAW3(SYS_sched_setattr, 0, scheduling, 0); }

/*
 * Shortens the slices of the calling thread to the shortest that there is: when it is woken, it goes before who is in
 * the middle of a longer one. It works for a moment, and somebody waits for that. What it starts begins with the usual
 * ones, but also without a negative nice value or a real-time policy: a thread that was given one of these is left as
 * it is.
 */
HAWSER_API int32_t hawser_shorten_slices(void) {
  struct scheduling scheduling;
  memset(&scheduling, 0, sizeof scheduling);
  long result = RAW4(SYS_sched_getattr, 0, &scheduling, sizeof scheduling, 0);
  if (result < 0) return (int32_t)result;
  if (scheduling.policy != SCHED_OTHER || scheduling.nice < 0) return 0;
  scheduling.flags = RESET_ON_FORK;
  scheduling.runtime = 100000;
  int32_t error = set(&scheduling);
  if (error == 0) usual = scheduling;
  return error;
}

/*
 * Until hawser_go_as_usual, nobody has the calling thread's processor but it (SCHED_FIFO). For the thread that slices
 * were shortened for, and where that is allowed (CAP_SYS_NICE); elsewhere nothing happens. The kernel leaves a
 * twentieth of every second to the others.
 */
void hawser_go_first(void) {
  if (goes_first || usual.size == 0) return;
  struct scheduling first;
  memset(&first, 0, sizeof first);
  first.size = sizeof first;
  first.policy = SCHED_FIFO;
  first.flags = RESET_ON_FORK;
  first.priority = 1;
  if (set(&first) == 0) goes_first = 1;
  else usual.size = 0; /* it would be refused the next time, too */
}

void hawser_go_as_usual(void) {
  if (!goes_first) return;
  goes_first = 0;
  set(&usual);
}

/* Whoever waits for this processor goes first (sched_yield(2)). */
HAWSER_API int32_t hawser_yield_processor(void) {
  hawser_go_as_usual();
  return result_of(sched_yield());
}
