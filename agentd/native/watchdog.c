/*
 * hawser-watchdog: ends what an agent has started when the agent is gone, however it went.
 *
 *   hawser-watchdog cgroup DIRECTORY
 *   hawser-watchdog walk MARKER FIRST LAST
 *
 * Its standard input is a pipe that the agent alone holds the other end of, and never writes to: end
 * of file there means that the agent is dead. Then everything below the cgroup DIRECTORY is killed
 * and the cgroups removed; or everybody is killed whose environment has a variable that begins with
 * MARKER, whose timer slack is from FIRST to LAST ns, and all their kin (walk.h). Another agent may have
 * drawn the same range: what is its, or whose environment has another one's MARKER, is left alone.
 *
 * No libc, so that it starts in no time and takes some pages of memory. A session is no more than
 * that to it: it keeps no list, so there is none that can be out of date.
 */
#include "process_table.h"
#include "syscalls.h"
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#define WATCHDOG_NAME "hawser-watchdog"
#define PROCESSES_MAX 65536
#define RIVALS_MAX 256
#define PASSES_MAX 10000
#define AGENT_PASSES_MAX 1000
#define PAUSE_NS 1000000

/* The compiler may call these for what it does itself elsewhere. */
void *memset(void *to, int value, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((volatile char *)to)[i] = (char)value;
  return to;
}

void *memcpy(void *to, const void *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((volatile char *)to)[i] = ((const char *)from)[i];
  return to;
}

static void pause_a_little(void) {
  struct timespec time = {0, PAUSE_NS};
  RAW2(SYS_nanosleep, &time, 0);
}

static void write_file(int directory, const char *name, const char *text, long bytes) {
  long fd = RAW4(SYS_openat, directory, name, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return;
  RAW3(SYS_write, fd, text, bytes);
  RAW1(SYS_close, fd);
}

static void wait_for_end_of_input(void) {
  char ignored[64];
  long count;
  do count = RAW3(SYS_read, 0, ignored, sizeof ignored);
  while (count > 0 || count == -EINTR || count == -EAGAIN);
}

/* ---- cgroup ---------------------------------------------------------------------------------- */

/* struct linux_dirent64, as getdents64(2) has it. */
struct entry {
  uint64_t inode;
  int64_t offset;
  uint16_t bytes;
  uint8_t type;
  char name[];
};

/* Does `act` on every directory below this one, the deepest first, and on the directory itself last. */
static void each_cgroup(int parent, const char *name, int depth, void (*act)(int parent, const char *name)) {
  char names[4096] __attribute__((aligned(8)));
  long directory = depth > 32 ? -ELOOP : RAW4(SYS_openat, parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (directory < 0) return;
  for (;;) {
    long bytes = RAW3(SYS_getdents64, directory, names, sizeof names);
    if (bytes <= 0) break;
    for (long at = 0; at < bytes;) {
      const struct entry *entry = (const struct entry *)(names + at);
      if (entry->type == 4 /* DT_DIR */ && entry->name[0] != '.') each_cgroup((int)directory, entry->name, depth + 1, act);
      at += entry->bytes;
    }
  }
  RAW1(SYS_close, directory);
  act(parent, name);
}

static void remove_cgroup(int parent, const char *name) { RAW3(SYS_unlinkat, parent, name, 0x200 /* AT_REMOVEDIR */); }

/* Before Linux 5.14 there is no cgroup.kill: one by one, while they are frozen. */
static void kill_members(int parent, const char *name) {
  char text[4096];
  int32_t pid = 0;
  long directory = RAW4(SYS_openat, parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  long fd = RAW4(SYS_openat, directory, "cgroup.procs", O_RDONLY | O_CLOEXEC, 0);
  for (;;) {
    long bytes = RAW3(SYS_read, fd, text, sizeof text);
    if (bytes <= 0) break;
    for (long i = 0; i < bytes; i++) {
      if (text[i] != '\n') {
        pid = pid * 10 + (text[i] - '0');
        continue;
      }
      if (pid > 0) RAW2(SYS_kill, pid, SIGKILL);
      pid = 0;
    }
  }
  RAW1(SYS_close, fd);
  RAW1(SYS_close, directory);
}

static int is_populated(int directory) {
  static const char wanted[] = "populated 1";
  char text[256];
  long bytes = read_small_file(directory, "cgroup.events", text, sizeof text);
  for (long i = 0; i + (long)sizeof wanted - 1 <= bytes; i++) {
    unsigned at = 0;
    while (wanted[at] != 0 && text[i + at] == wanted[at]) at++;
    if (wanted[at] == 0) return 1;
  }
  return 0;
}

static void end_cgroup(const char *path) {
  long directory = RAW4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (directory < 0) return; /* the agent has ended in order */
  long kill = RAW4(SYS_openat, directory, "cgroup.kill", O_WRONLY | O_CLOEXEC, 0);
  if (kill < 0) write_file((int)directory, "cgroup.freeze", "1", 1);
  for (int pass = 0; pass < PASSES_MAX && is_populated((int)directory); pass++) {
    if (kill >= 0)
      RAW3(SYS_write, kill, "1", 1);
    else
      each_cgroup(AT_FDCWD, path, 0, kill_members);
    pause_a_little();
  }
  each_cgroup(AT_FDCWD, path, 0, remove_cgroup);
}

/* ---- texts ----------------------------------------------------------------------------------- */

static int32_t length_of(const char *text) {
  int32_t length = 0;
  while (text[length] != 0) length++;
  return length;
}

static uint32_t number_in(const char *text) {
  uint32_t number = 0;
  for (; *text >= '0' && *text <= '9'; text++) number = number * 10 + (uint32_t)(*text - '0');
  return number;
}

/* ---- other agents ---------------------------------------------------------------------------- */

static int has_own_name(const struct process *process) {
  static const char name[] = WATCHDOG_NAME;
  for (unsigned i = 0; i < sizeof name; i++) {
    if (process->name[i] != name[i]) return 0;
  }
  return 1;
}

/* The FIRST that a watchdog of a walk was started with, else 0. */
static uint32_t first_mark_of(int proc, int32_t pid) {
  char path[64];
  char line[512];
  process_path(path, pid, "cmdline");
  long bytes = read_small_file(proc, path, line, sizeof line - 1);
  if (bytes <= 0) return 0;
  line[bytes] = 0;
  const char *argument = line;
  for (int i = 0; i < 3; i++) {
    argument += length_of(argument) + 1;
    if (argument >= line + bytes) return 0;
    if (i == 0 && argument[0] != 'w') return 0;
  }
  return number_in(argument);
}

/*
 * The agents that live and have drawn the same marks: the parents of other watchdogs. One whose parent is
 * ours, too, has no agent any more, either.
 */
static int32_t find_rivals(int proc, uint32_t first, const struct process *table, long count, int32_t *rivals) {
  int32_t found = 0;
  int32_t parent = (int32_t)RAW0(SYS_getppid);
  for (long i = 0; i < count && found < RIVALS_MAX; i++) {
    const struct process *process = &table[i];
    if (process->pid == RAW0(SYS_getpid) || process->parent == parent || is_dead(process)) continue;
    if (has_own_name(process) && first_mark_of(proc, process->pid) == first) rivals[found++] = process->parent;
  }
  return found;
}

/* ---- walk ------------------------------------------------------------------------------------ */

static void signal_all(int proc, const struct process *members, long count, int signal) {
  for (long i = 0; i < count; i++) {
    if (!is_dead(&members[i])) signal_process(proc, &members[i], signal);
  }
}

static long count_live(const struct process *members, long count, int but_stopped) {
  long live = 0;
  for (long i = 0; i < count; i++) live += !is_dead(&members[i]) && !(but_stopped && members[i].state == 'T');
  return live;
}

/* Its files are closed before its children are somebody else's: until then it looks alive. */
static void wait_for_end_of(int32_t agent) {
  for (int pass = 0; pass < AGENT_PASSES_MAX && RAW0(SYS_getppid) == agent; pass++) pause_a_little();
}

/* First nobody runs any more, and so nobody forks; then they die. */
static void end_walk(struct walk *walk) {
  size_t bytes = PROCESSES_MAX * sizeof(struct process);
  int32_t rivals[RIVALS_MAX];
  int proc = (int)open_proc();
  /* Six arguments: mmap is the one call here that has them. */
  struct process *table = (struct process *)raw_anonymous_memory(bytes);
  if (proc < 0 || (long)table < 0) return;
  int signal = SIGSTOP;
  for (int pass = 0; pass < PASSES_MAX; pass++) {
    long count = read_all_processes(proc, table, PROCESSES_MAX);
    if (count == -ENOBUFS) count = PROCESSES_MAX;
    walk->rivals = rivals;
    walk->rival_count = find_rivals(proc, walk->slack_first, table, count, rivals);
    count = walk_members(proc, walk, table, count);
    if (count_live(table, count, 0) == 0) return;
    if (count_live(table, count, 1) == 0 || pass > 100) signal = SIGKILL;
    signal_all(proc, table, count, signal);
    if (pass > 2) pause_a_little();
  }
}

/* ---- the program ----------------------------------------------------------------------------- */

__attribute__((noreturn, used)) void watchdog_main(const long *stack) {
  long count = stack[0];
  const char *const *arguments = (const char *const *)(stack + 1);
  uint64_t all = ~(uint64_t)0;
  RAW4(SYS_rt_sigprocmask, SIG_SETMASK, &all, 0, 8);
  RAW5(SYS_prctl, PR_SET_NAME, WATCHDOG_NAME, 0, 0, 0);
  /* Not the one to die where memory is short; refused to the unprivileged. */
  write_file(AT_FDCWD, "/proc/self/oom_score_adj", "-1000", 5);
  if (count == 3 && arguments[1][0] == 'c') {
    wait_for_end_of_input();
    end_cgroup(arguments[2]);
  } else if (count == 5) {
    struct walk walk = {0};
    walk.marker = arguments[2];
    walk.marker_bytes = length_of(arguments[2]);
    walk.marker_is_prefix = 1;
    walk.slack_first = number_in(arguments[3]);
    walk.slack_last = number_in(arguments[4]);
    int32_t agent = (int32_t)RAW0(SYS_getppid);
    wait_for_end_of_input();
    wait_for_end_of(agent);
    end_walk(&walk);
  }
  for (;;) RAW1(SYS_exit_group, 0);
}

/* The kernel starts a program with its arguments on the stack, and no return address. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tmovq %rsp, %rdi\n\tandq $-16, %rsp\n\tcall watchdog_main\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, xzr\n\tmov x30, xzr\n\tmov x0, sp\n\tbl watchdog_main\n");
#endif
