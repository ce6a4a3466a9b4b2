/*
 * One call per launch: pipes, child, and the agent's ends of everything.
 *
 * The child is made with clone(CLONE_VM) and without CLONE_VFORK: nothing is copied, whatever the
 * size of the agent, and nobody waits for the child's execve, which a hanging file system may hold
 * up for ever. The price: the child runs in the agent's memory, beside the agent. So it has a stack
 * and a copy of the request of its own, uses raw system calls only (syscalls.h), and its block of
 * memory is freed only after end of file on the status pipe. The kernel closes that pipe's
 * close-on-exec end after it switched the address space (begin_new_exec: exec_mmap, then
 * do_close_on_exec; do_exit: exit_mm, then exit_files), so at end of file nobody uses the block.
 * A failure record alone does not say that: the child that wrote it is still on its way to exit.
 */
#include "hawser.h"
#include "launch.h"
#include "syscalls.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

/* ---- the block of memory of one launch ------------------------------------------------------ */

#define STACK_BYTES ((size_t)32768)
#define COMMON_BYTES ((size_t)16384) /* struct, pointers and request of an ordinary launch */
#define FREE_BLOCKS_MAX 128 /* of a hundred launches at once; to unmap one interrupts every processor */

static struct launch *free_blocks;
static unsigned free_block_count;
static struct launch **slots;
static int32_t slot_count;
static int32_t slots_taken;

static size_t page_bytes(void) {
  static size_t bytes;
  if (bytes == 0) bytes = (size_t)sysconf(_SC_PAGESIZE);
  return bytes;
}

static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

/* From the bottom: a guard page, the stack, and on top of the stack the launch and its request. */
static struct launch *block_take(size_t content_bytes) {
  size_t guard = page_bytes();
  size_t stack = round_up(STACK_BYTES, guard);
  if (content_bytes <= COMMON_BYTES) {
    if (free_blocks != NULL) {
      struct launch *launch = free_blocks;
      free_blocks = launch->next_free;
      free_block_count--;
      return launch;
    }
    content_bytes = COMMON_BYTES;
  }
  size_t bytes = guard + stack + round_up(content_bytes, guard);
  char *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return NULL;
  if (mprotect(base + guard, bytes - guard, PROT_READ | PROT_WRITE) != 0) {
    munmap(base, bytes);
    return NULL;
  }
  struct launch *launch = (struct launch *)(base + guard + stack);
  launch->block_bytes = bytes;
  return launch;
}

static void block_give_back(struct launch *launch) {
  size_t guard = page_bytes();
  size_t stack = round_up(STACK_BYTES, guard);
  size_t common = guard + stack + round_up(COMMON_BYTES, guard);
  if (launch->block_bytes == common && free_block_count < FREE_BLOCKS_MAX) {
    launch->next_free = free_blocks;
    free_blocks = launch;
    free_block_count++;
    return;
  }
  munmap((char *)launch - stack - guard, launch->block_bytes);
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int32_t slot_take(struct launch *launch) {
  int32_t slot = 0;
  while (slot < slot_count && slots[slot] != NULL) slot++;
  if (slot == slot_count) {
    int32_t count = slot_count == 0 ? 64 : slot_count * 2;
    struct launch **grown = realloc(slots, (size_t)count * sizeof *slots);
    if (grown == NULL) return -ENOMEM;
    memset(grown + slot_count, 0, (size_t)(count - slot_count) * sizeof *slots);
    slots = grown;
    slot_count = count;
  }
  launch->launched_ms = now_ms();
  slots[slot] = launch;
  slots_taken++;
  return slot;
}

/*
 * So many are under way that the processors are the commands' for long. Who starts the rest of them, and hears of the ends of
 * the first, would have its share only, one of them all; and what it does at the end, alone, is done by one processor.
 * Launches that have been under way for long hang, and want none.
 */
int hawser_many_launches(void) {
  enum { MANY = 4, RECENT_MS = 200 };
  if (slots_taken < MANY) return 0;
  int64_t since = now_ms() - RECENT_MS;
  int recent = 0;
  for (int32_t slot = slot_count - 1; slot >= 0 && recent < MANY; slot--) {
    if (slots[slot] != NULL && slots[slot]->launched_ms > since) recent++;
  }
  return recent == MANY;
}

static void slot_give_back(int32_t slot) {
  slots[slot] = NULL;
  slots_taken--;
}

/* ---- the request ---------------------------------------------------------------------------- */

/* Points `count` entries, and a NULL after them, at the strings from *cursor on. */
static int point_at_strings(char **pointers, uint32_t count, char **cursor, char *end) {
  for (uint32_t i = 0; i < count; i++) {
    char *nul = *cursor < end ? memchr(*cursor, 0, (size_t)(end - *cursor)) : NULL;
    if (nul == NULL) return -EINVAL;
    pointers[i] = *cursor;
    *cursor = nul + 1;
  }
  pointers[count] = NULL;
  return 0;
}

/* Copies the request into a block of its own and builds argv and envp there. */
static int launch_prepare(const uint8_t *request, uint32_t request_bytes, struct launch **prepared) {
  struct request_header header;
  if (request_bytes < sizeof header) return -EINVAL;
  memcpy(&header, request, sizeof header);
  size_t fixed = sizeof header + (size_t)header.rlimit_count * sizeof(struct request_rlimit) +
                 round_up((size_t)header.group_count * sizeof(uint32_t), 8);
  /* Every string takes a byte at least, so this also bounds the counts before memory is taken. */
  size_t strings = (size_t)header.candidate_count + header.argument_count + header.variable_count + 2;
  if (header.candidate_count == 0 || fixed + strings - 2 > request_bytes) return -EINVAL;

  size_t head = round_up(sizeof(struct launch), 16);
  size_t pointers = round_up((strings + 5) * sizeof(char *), 16);
  struct launch *launch = block_take(head + pointers + request_bytes);
  if (launch == NULL) return -ENOMEM;
  char **next = (char **)((char *)launch + head);
  char *copy = (char *)next + pointers;
  memcpy(copy, request, request_bytes);
  launch->request = (const struct request_header *)copy;
  launch->rlimits = (const struct request_rlimit *)(copy + sizeof header);
  launch->groups = (const uint32_t *)(launch->rlimits + header.rlimit_count);
  launch->candidates = next;
  launch->arguments = launch->candidates + header.candidate_count + 1;
  launch->variables = launch->arguments + header.argument_count + 1;
  char **paths = launch->variables + header.variable_count + 1;

  char *cursor = copy + fixed;
  char *end = copy + request_bytes;
  int has_cwd = (header.flags & FLAG_CWD) != 0;
  int has_slave = (header.flags & FLAG_TERMINAL) != 0;
  if (point_at_strings(launch->candidates, header.candidate_count, &cursor, end) < 0 ||
      point_at_strings(launch->arguments, header.argument_count, &cursor, end) < 0 ||
      point_at_strings(launch->variables, header.variable_count, &cursor, end) < 0 ||
      point_at_strings(paths, (uint32_t)(has_cwd + has_slave), &cursor, end) < 0 ||
      cursor != end /* a NUL inside a string */) {
    block_give_back(launch);
    return -EINVAL;
  }
  launch->cwd = has_cwd ? paths[0] : NULL;
  launch->slave_path = has_slave ? paths[has_cwd] : NULL;
  launch->credentialed = (header.flags & FLAG_CREDENTIALS) != 0;
  *prepared = launch;
  return 0;
}

/* ---- the descriptors ------------------------------------------------------------------------ */

/* The two ends of every pipe: the child's, blocking, and the agent's, non-blocking. */
struct ends {
  int child[4]; /* stdin, stdout, stderr, status */
  int agent[4];
};

static void close_ends(int *fds) {
  for (int i = 0; i < 4; i++) {
    if (fds[i] >= 0) close(fds[i]);
    fds[i] = -1;
  }
}

/* Above 2, so that the child's dup3 to 0, 1 and 2 overwrites none of its sources. */
static int lift(int *fd) {
  if (*fd >= 3) return 0;
  int lifted = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
  if (lifted < 0) return -errno;
  close(*fd);
  *fd = lifted;
  return 0;
}

struct pipe_ends {
  int agent; /* 0 or -1: there is none */
  int child;
};

/* Made in advance, for one launch: status, stdout and stderr, which the agent reads, and stdin. */
static struct pipe_ends spare_outputs[3];
static struct pipe_ends spare_input;

static int new_pipe(struct pipe_ends *ends, int agent_reads) {
  int pair[2];
  if (pipe2(pair, O_CLOEXEC) != 0) return -errno;
  ends->agent = pair[agent_reads ? 0 : 1];
  ends->child = pair[agent_reads ? 1 : 0];
  int error = lift(&ends->agent);
  if (error == 0) error = lift(&ends->child);
  if (error == 0 && fcntl(ends->agent, F_SETFL, O_NONBLOCK) != 0) error = -errno;
  if (error == 0) return 0;
  close(ends->agent);
  close(ends->child);
  ends->agent = -1;
  return error;
}

static int make_pipe(struct ends *ends, int which, struct pipe_ends *spare, int agent_reads) {
  int error = spare->agent > 0 ? 0 : new_pipe(spare, agent_reads);
  if (error < 0) return error;
  ends->agent[which] = spare->agent;
  ends->child[which] = spare->child;
  spare->agent = -1;
  return 0;
}

static int make_pipes(struct ends *ends, uint32_t flags) {
  int error = make_pipe(ends, 3, &spare_outputs[0], 1);
  if (flags & FLAG_TERMINAL) return error;
  if (error == 0 && !(flags & FLAG_STDIN_NULL)) error = make_pipe(ends, 0, &spare_input, 0);
  if (error == 0) error = make_pipe(ends, 1, &spare_outputs[1], 1);
  if (error == 0) error = make_pipe(ends, 2, &spare_outputs[2], 1);
  return error;
}

/*
 * Makes the pipes of the next launch, for when nobody waits: they are a quarter of what a launch takes. Where
 * there are no descriptors left for them, the launch will say so.
 */
HAWSER_API int32_t hawser_launch_ahead(void) {
  int error = 0;
  for (int i = 0; i < 3 && error == 0; i++) {
    if (spare_outputs[i].agent <= 0) error = new_pipe(&spare_outputs[i], 1);
  }
  if (error == 0 && spare_input.agent <= 0) error = new_pipe(&spare_input, 0);
  return error;
}

/* ---- credentials and shared memory ---------------------------------------------------------- */

/*
 * A child that has taken another uid shares the agent's memory until its execve. What keeps that
 * uid's other processes from tracing it, and through it the agent, is the kernel: a change of uid
 * makes the memory undumpable (commit_creds: set_dumpable(mm, suid_dumpable)), the agent's with it.
 * So: not with the debugging setting fs.suid_dumpable = 1, and the agent gets its flag back when
 * the last such launch is over.
 */
static unsigned credentialed_launches;
static int dumpable_before;

static int suid_dumpable_is_debug(void) {
  char value = '0';
  int fd = open("/proc/sys/fs/suid_dumpable", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  if (read(fd, &value, 1) != 1) value = '0';
  close(fd);
  return value == '1';
}

static void credentialed_begin(void) {
  if (credentialed_launches++ == 0) dumpable_before = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
}

static void credentialed_end(void) {
  if (--credentialed_launches == 0 && dumpable_before == 1) prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/*
 * Two launches copy the agent's memory instead of sharing it. With an oom score, because a write
 * to oom_score_adj goes to every process that shares the writer's memory, unless the writer is a
 * vfork child (fs/proc/base.c, __set_oom_adj): it would change the agent's own score. And with
 * credentials where the kernel does not protect the shared memory, see above.
 */
static int must_copy_memory(const struct launch *launch) {
  if (launch->request->flags & FLAG_OOM_SCORE) return 1;
  return launch->credentialed && suid_dumpable_is_debug();
}

/* ---- the call ------------------------------------------------------------------------------- */

/*
 * The signals that this process ignores: those with a handler, CLONE_CLEAR_SIGHAND resets. Asked for
 * once: Node sets its own at its start (SIGPIPE, SIGXFSZ), and ignores none later.
 */
static uint64_t ignored_signals(void) {
  static uint64_t ignored;
  static int known;
  if (known) return ignored;
  for (int signal = 1; signal <= 64; signal++) {
    /* struct sigaction as the kernel has it: the handler is first. libc does not tell of its own two signals. */
    uint64_t action[4] = {0, 0, 0, 0};
    RAW4(SYS_rt_sigaction, signal, 0, action, 8);
    if (action[0] == (uint64_t)(uintptr_t)SIG_IGN) ignored |= (uint64_t)1 << (signal - 1);
  }
  known = 1;
  return ignored;
}

/*
 * Born in its cgroup (Linux 5.7), so that there is no instant in which it, or a child of it, is outside,
 * and without a handler (Linux 5.5), which spares it sixty calls. -ENOSYS under a seccomp filter that
 * cannot look into clone3's arguments, -E2BIG or -EINVAL where the kernel does not know one of the flags.
 */
static long clone_prepared(struct launch *launch, unsigned long flags, int *pidfd) {
  struct clone3_arguments arguments;
  memset(&arguments, 0, sizeof arguments);
  arguments.flags = flags | CLONE_CLEAR_SIGHAND;
  if (launch->request->cgroup_fd >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = (uint64_t)launch->request->cgroup_fd;
  }
  arguments.pidfd = (uint64_t)(uintptr_t)pidfd;
  arguments.exit_signal = SIGCHLD;
  char *bottom = (char *)launch - round_up(STACK_BYTES, page_bytes());
  return raw_clone3(&arguments, bottom, launch, launch_child, launch);
}

static long make_child(struct launch *launch, int *pidfd) {
  static int no_clone3;
  unsigned long flags = CLONE_PIDFD;
  launch->shares_memory = !must_copy_memory(launch);
  if (launch->shares_memory) flags |= CLONE_VM;
  /* No handler of the agent may run in the child, on its small stack and in shared memory. */
  uint64_t all = ~(uint64_t)0;
  uint64_t before;
  RAW4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
  long pid = -ENOSYS;
  launch->set_up = SETTING_UP;
  launch->to_reset = ignored_signals();
  launch->joins_cgroup = 0;
  if (!no_clone3) pid = clone_prepared(launch, flags, pidfd);
  if (pid == -ENOSYS || pid == -EINVAL || pid == -E2BIG) {
    no_clone3 = 1;
    launch->to_reset = ~(uint64_t)0;
    launch->joins_cgroup = launch->request->cgroup_fd >= 0;
    pid = raw_clone(flags | SIGCHLD, launch, pidfd, launch_child, launch);
  }
  RAW4(SYS_rt_sigprocmask, SIG_SETMASK, &before, 0, 8);
  return pid;
}

/*
 * Waits until the child has nothing left to do but chdir and execve, a millisecond at most. On the agent's processor
 * it would otherwise wait for the agent instead, for all that a turn of its loop does: where sessions are scheduled
 * in groups (sched_autogroup), setsid puts the child behind everybody who is ready to run.
 */
static void await_set_up(struct launch *launch) {
  int expected = SETTING_UP;
  if (!__atomic_compare_exchange_n(&launch->set_up, &expected, AWAITED, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return;
  struct timespec limit = {0, 1000000};
  RAW4(SYS_futex, &launch->set_up, FUTEX_WAIT_PRIVATE, AWAITED, &limit);
}

static int32_t launch_failed(int32_t *out, int stage, struct launch *launch, int32_t slot, struct ends *ends, long error) {
  close_ends(ends->child);
  close_ends(ends->agent);
  if (slot >= 0) slot_give_back(slot);
  if (launch != NULL) block_give_back(launch);
  out[6] = stage;
  return (int32_t)error;
}

/*
 * Launches a process. `out` gets: pid, pidfd, status, stdin, stdout and stderr descriptors (-1
 * where there is none), stage, handle. On failure nothing is left behind, and `out[6]` is the stage.
 *
 * The status descriptor gives one `struct failure` when the launch fails, and end of file when it
 * is over, either way. Then, and not before, the caller calls hawser_launch_release(handle).
 */
HAWSER_API int32_t hawser_launch(const uint8_t *request, uint32_t request_bytes, int32_t *out) {
  struct ends ends = {{-1, -1, -1, -1}, {-1, -1, -1, -1}};
  struct launch *launch = NULL;
  int error = launch_prepare(request, request_bytes, &launch);
  if (error < 0) return launch_failed(out, STAGE_VALIDATE, NULL, -1, &ends, error);
  int32_t slot = slot_take(launch);
  if (slot < 0) return launch_failed(out, STAGE_VALIDATE, launch, -1, &ends, slot);
  if (hawser_many_launches()) hawser_go_first();
  error = make_pipes(&ends, launch->request->flags);
  if (error < 0) return launch_failed(out, STAGE_PIPE, launch, slot, &ends, error);
  for (int i = 0; i < 3; i++) launch->standard[i] = ends.child[i];
  launch->status = ends.child[3];

  if (launch->credentialed) credentialed_begin();
  int pidfd = -1;
  long pid = make_child(launch, &pidfd);
  if (pid < 0) {
    if (launch->credentialed) credentialed_end();
    return launch_failed(out, STAGE_CLONE, launch, slot, &ends, pid);
  }
  /* Of many at once each would wait for the processors that the others have; and nobody waits for each of them. */
  if (slots_taken == 1 && launch->shares_memory) await_set_up(launch);
  close_ends(ends.child);
  out[0] = (int32_t)pid;
  out[1] = pidfd;
  out[2] = ends.agent[3];
  out[3] = ends.agent[0];
  out[4] = ends.agent[1];
  out[5] = ends.agent[2];
  out[6] = STAGE_EXEC;
  out[7] = slot;
  return 0;
}

/* Frees what a launch held. Only after end of file on its status descriptor. */
HAWSER_API int32_t hawser_launch_release(int32_t handle) {
  if (handle < 0 || handle >= slot_count || slots[handle] == NULL) return -EINVAL;
  if (slots[handle]->credentialed) credentialed_end();
  block_give_back(slots[handle]);
  slot_give_back(handle);
  return 0;
}
