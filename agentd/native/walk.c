/* Membership by kinship and by marks. No libc: see process_table.h. */
#include "walk.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>

#define CHUNK_BYTES 4096
#define DEPTH_MAX 64

/* ---- the marks ------------------------------------------------------------------------------- */

/* Goes on with a match of a text at the start of every variable, over chunks of any size. */
struct match {
  const char *text;
  int32_t bytes;
  int is_prefix;
  int32_t at; /* bytes that agree so far; -1 in a variable that is another */
};

static int match_byte(struct match *match, char byte) {
  if (match->at == match->bytes && byte == 0) return 1;
  if (byte == 0)
    match->at = 0;
  else if (match->at >= 0)
    match->at = match->at < match->bytes && match->text[match->at] == byte ? match->at + 1 : -1;
  return match->is_prefix && match->at == match->bytes;
}

/* `NAME=` of the marker. */
static int32_t name_bytes(const struct walk *walk) {
  int32_t bytes = 0;
  while (bytes < walk->marker_bytes && walk->marker[bytes] != '=') bytes++;
  return bytes == walk->marker_bytes ? bytes : bytes + 1;
}

enum bearing { BEARS_NONE, BEARS_OURS, BEARS_ANOTHER };

/* What the process was executed with; not readable for another user's process, unless privileged. */
static enum bearing marker_of(int proc, const struct walk *walk, int32_t pid) {
  char path[64];
  char chunk[CHUNK_BYTES];
  struct match ours = {walk->marker, walk->marker_bytes, walk->marker_is_prefix, 0};
  struct match any = {walk->marker, name_bytes(walk), 1, 0};
  if (walk->marker_bytes == 0) return BEARS_NONE;
  process_path(path, pid, "environ");
  long fd = RAW4(SYS_openat, proc, path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return BEARS_NONE;
  enum bearing found = BEARS_NONE;
  while (found != BEARS_OURS) {
    long count = RAW3(SYS_read, fd, chunk, sizeof chunk);
    if (count == -EINTR) continue;
    if (count <= 0) break;
    for (long i = 0; i < count && found != BEARS_OURS; i++) {
      if (match_byte(&any, chunk[i])) found = BEARS_ANOTHER;
      if (match_byte(&ours, chunk[i])) found = BEARS_OURS;
    }
  }
  RAW1(SYS_close, fd);
  return found;
}

/* Needs CAP_SYS_NICE (fs/proc/base.c, timerslack_ns_show); 0 where it cannot be read. */
static uint64_t timer_slack(int proc, int32_t pid) {
  char path[64];
  char text[32];
  process_path(path, pid, "timerslack_ns");
  long bytes = read_small_file(proc, path, text, sizeof text);
  uint64_t value = 0;
  for (long i = 0; i < bytes && text[i] >= '0' && text[i] <= '9'; i++) value = value * 10 + (uint64_t)(text[i] - '0');
  return value;
}

static int is_in_range(int proc, const struct walk *walk, int32_t pid) {
  if (walk->slack_last == 0) return 0;
  uint64_t slack = timer_slack(proc, pid);
  return slack >= walk->slack_first && slack <= walk->slack_last;
}

/* ---- kinship --------------------------------------------------------------------------------- */

/* While a walk is on, members are known by a bit of `threads` that no number of threads reaches. */
#define MEMBER 0x40000000

static int is_member(const struct process *process) { return (process->threads & MEMBER) != 0; }

static struct process *find(struct process *table, long count, int32_t pid) {
  long low = 0;
  long high = count - 1;
  while (low <= high) {
    long middle = (low + high) / 2;
    if (table[middle].pid == pid) return &table[middle];
    if (table[middle].pid < pid)
      low = middle + 1;
    else
      high = middle - 1;
  }
  return 0;
}

static int is_foreign(const struct walk *walk, int32_t pid) {
  for (int32_t i = 0; i < walk->foreign_count; i++) {
    if (walk->foreign[i] == pid) return 1;
  }
  return 0;
}

/*
 * A mark in the range that another agent has drawn, too, may be one of its. Whoever of its sessions'
 * processes has dropped the variable has a forebear that has not, or the agent itself.
 */
static int may_be_anothers(int proc, const struct walk *walk, struct process *table, long count,
                           const struct process *process) {
  for (int depth = 0; process != 0 && depth < DEPTH_MAX; depth++) {
    for (int32_t i = 0; i < walk->rival_count; i++) {
      if (walk->rivals[i] == process->pid) return 1;
    }
    if (is_in_range(proc, walk, process->pid)) {
      enum bearing bearing = marker_of(proc, walk, process->pid);
      if (bearing != BEARS_NONE) return bearing == BEARS_ANOTHER;
    }
    process = find(table, count, process->parent);
  }
  return 0;
}

static int is_marked(int proc, const struct walk *walk, struct process *table, long count,
                     const struct process *process) {
  int in_range = is_in_range(proc, walk, process->pid);
  if (in_range && walk->agent != 0) return 1;
  if (marker_of(proc, walk, process->pid) == BEARS_OURS) return 1;
  return in_range && !may_be_anothers(proc, walk, table, count, process);
}

/* With an agent, only what it has adopted needs to be asked for its mark: everything else has a parent that tells. */
static int may_be_orphan(const struct walk *walk, const struct process *process) {
  if (is_dead(process) || is_foreign(walk, process->pid)) return 0;
  if (walk->agent != 0) return process->parent == walk->agent;
  return process->pid != 1 && process->pid != 2 && process->parent != 2 && process->pid != RAW0(SYS_getpid);
}

static int is_same(const struct known_process *known, const struct process *process) {
  if (known->pid != process->pid || known->start_ticks != process->start_ticks) return 0;
  return known->session == process->session || process->session == process->pid;
}

/* Whose parent is there needs not be remembered: the parent tells. */
static int is_known_orphan(const struct walk *walk, struct process *table, long count, const struct process *process) {
  int is_known = 0;
  for (int32_t i = 0; i < walk->known_count && !is_known; i++) is_known = is_same(&walk->known[i], process);
  if (!is_known || is_foreign(walk, process->pid)) return 0;
  return process->parent == walk->agent || find(table, count, process->parent) == 0;
}

static int is_seed(int proc, const struct walk *walk, struct process *table, long count, const struct process *process) {
  if (process->pid == walk->leader) return 1;
  if (is_known_orphan(walk, table, count, process)) return 1;
  return may_be_orphan(walk, process) && is_marked(proc, walk, table, count, process);
}

/*
 * A session of processes belongs to one tree: the launcher calls setsid, and nobody can enter a
 * session from outside. Only between clone and setsid is the leader in the agent's.
 */
static int shares_session(struct process *table, long count, const struct process *process) {
  if (process->session == 0) return 0;
  const struct process *first = find(table, count, process->session);
  if (first != 0) return is_member(first);
  for (long i = 0; i < count; i++) {
    if (table[i].session == process->session && is_member(&table[i]) && &table[i] != process) return 1;
  }
  return 0;
}

static int own_session(const struct walk *walk, struct process *table, long count, int32_t session) {
  const struct process *agent = walk->agent == 0 ? 0 : find(table, count, walk->agent);
  return agent != 0 && agent->session == session;
}

static long spread(const struct walk *walk, struct process *table, long count) {
  long found = 0;
  for (long i = 0; i < count; i++) {
    struct process *process = &table[i];
    if (is_member(process) || is_foreign(walk, process->pid) || process->pid == walk->agent) continue;
    struct process *parent = find(table, count, process->parent);
    int belongs = parent != 0 && is_member(parent);
    if (!belongs && !own_session(walk, table, count, process->session))
      belongs = shares_session(table, count, process);
    if (!belongs) continue;
    process->threads |= MEMBER;
    found++;
  }
  return found;
}

long walk_members(int proc, const struct walk *walk, struct process *table, long count) {
  long found = 0;
  for (long i = 0; i < count; i++) {
    if (!is_seed(proc, walk, table, count, &table[i])) continue;
    table[i].threads |= MEMBER;
    found++;
  }
  if (found > 0) {
    while (spread(walk, table, count) > 0) continue;
  }
  long members = 0;
  for (long i = 0; i < count; i++) {
    if (!is_member(&table[i])) continue;
    table[i].threads &= ~MEMBER;
    if (members != i) table[members] = table[i];
    members++;
  }
  return members;
}
