/*
 * cgroup v2 directories (Documentation/admin-guide/cgroup-v2.rst), and what the process-walk needs
 * of the agent's side. A cgroup is named by a descriptor of its directory.
 */
#include "hawser.h"
#include "process_table.h"
#include "syscalls.h"
#include "walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A session may make cgroups below its own; nobody nests deeper than cgroup.max.depth, and we not than this. */
#define DEPTH_MAX 32

/* ---- files of a cgroup ----------------------------------------------------------------------- */

/* Reads a file of the directory from its beginning; returns its bytes. */
HAWSER_API int64_t hawser_read_at(int32_t directory, const uint8_t *name, uint8_t *buffer, int64_t capacity) {
  return read_small_file(directory, (const char *)name, (char *)buffer, capacity);
}

/* Opens a file of the directory, to read it more than once. */
HAWSER_API int32_t hawser_open_at(int32_t directory, const uint8_t *name) {
  return result_of(openat(directory, (const char *)name, O_RDONLY | O_CLOEXEC));
}

/* What an open cgroup.events says: 1 where a process is in the cgroup or below it, and 2 where all stand still. */
HAWSER_API int32_t hawser_cgroup_events(int32_t fd) {
  char text[256];
  ssize_t bytes = pread(fd, text, sizeof text - 1, 0);
  if (bytes < 0) return -errno;
  text[bytes] = 0;
  return (strstr(text, "populated 1") != NULL ? 1 : 0) | (strstr(text, "frozen 1") != NULL ? 2 : 0);
}

/* The number behind `key` in a file of `key number` lines; 0 where there is none. */
static double keyed_number(const char *text, const char *key) {
  const char *found = strstr(text, key);
  return found == NULL ? 0 : (double)strtoull(found + strlen(key), NULL, 10);
}

/* CPU time of an open cpu.stat: in user mode and in the kernel, microseconds. */
HAWSER_API int32_t hawser_cgroup_cpu(int32_t fd, double *times) {
  char text[1024];
  ssize_t bytes = pread(fd, text, sizeof text - 1, 0);
  if (bytes < 0) return -errno;
  text[bytes] = 0;
  times[0] = keyed_number(text, "user_usec ");
  times[1] = keyed_number(text, "system_usec ");
  return 0;
}

/* Writes `bytes` in one write, as the files of a cgroup want it. */
HAWSER_API int32_t hawser_write_at(int32_t directory, const uint8_t *name, const uint8_t *bytes, int64_t count) {
  int fd = openat(directory, (const char *)name, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int32_t result = result_of(write(fd, bytes, (size_t)count));
  close(fd);
  return result;
}

/* Opens a directory; with `make`, makes it before and fails with -EEXIST where it is there. */
HAWSER_API int32_t hawser_open_directory(int32_t parent, const uint8_t *path, int32_t make) {
  if (make && mkdirat(parent, (const char *)path, 0755) < 0) return -errno;
  return result_of(openat(parent, (const char *)path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* Takes the lock of an open directory, which its process keeps until it ends: -EAGAIN when another one has it. */
HAWSER_API int32_t hawser_lock(int32_t fd) { return result_of(flock(fd, LOCK_EX | LOCK_NB)); }

/* Calls back for every directory in a directory, until one call gives not 0. */
static int each_directory(int directory, int (*visit)(int parent, const char *name, void *context), void *context) {
  int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return -errno;
  DIR *entries = fdopendir(copy);
  if (entries == NULL) {
    int error = -errno;
    close(copy);
    return error;
  }
  int result = 0;
  struct dirent *entry;
  while (result == 0 && (entry = readdir(entries)) != NULL) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') result = visit(directory, entry->d_name, context);
  }
  closedir(entries);
  return result;
}

static int remove_tree(int parent, const char *name, void *context) {
  int depth = *(int *)context;
  if (depth > DEPTH_MAX) return -ELOOP;
  if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
  int directory = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return -errno;
  int deeper = depth + 1;
  int result = each_directory(directory, remove_tree, &deeper);
  close(directory);
  if (result < 0) return result;
  return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

/* Removes a cgroup and those below it. -EBUSY while a process is in one of them. */
HAWSER_API int32_t hawser_cgroup_remove(int32_t parent, const uint8_t *name) {
  int depth = 0;
  return remove_tree(parent, (const char *)name, &depth);
}

/* ---- members --------------------------------------------------------------------------------- */

struct pid_list {
  int32_t *pids;
  int64_t count;
  int64_t capacity;
  int depth;
};

static int list_pids(int directory, struct pid_list *list);

static int list_pids_below(int parent, const char *name, void *context) {
  struct pid_list *list = context;
  if (list->depth >= DEPTH_MAX) return 0;
  int directory = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return errno == ENOENT ? 0 : -errno;
  list->depth++;
  int result = list_pids(directory, list);
  list->depth--;
  close(directory);
  return result;
}

/* 0 in cgroup.procs is a process that this pid namespace does not see. */
static int take_pids(int fd, struct pid_list *list) {
  char text[4096];
  int32_t pid = 0;
  for (;;) {
    ssize_t bytes = read(fd, text, sizeof text);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return errno == EOPNOTSUPP ? 0 : -errno; /* a threaded cgroup: its domain lists them */
    if (bytes == 0) return 0;
    for (ssize_t i = 0; i < bytes; i++) {
      if (text[i] != '\n') {
        pid = pid * 10 + (text[i] - '0');
        continue;
      }
      if (pid > 0) {
        if (list->count == list->capacity) return -ENOBUFS;
        list->pids[list->count++] = pid;
      }
      pid = 0;
    }
  }
}

static int list_pids(int directory, struct pid_list *list) {
  int fd = openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT || errno == ENODEV ? 0 : -errno;
  int result = take_pids(fd, list);
  close(fd);
  if (result < 0) return result;
  /* A directory has two links and one for each directory in it; kernfs counts them. */
  struct stat found;
  if (fstat(directory, &found) == 0 && found.st_nlink <= 2) return 0;
  return each_directory(directory, list_pids_below, list);
}

/* The live processes of a cgroup and of those below it: how many, or -ENOBUFS beyond `capacity`. */
HAWSER_API int32_t hawser_cgroup_pids(int32_t directory, int32_t *out, int32_t capacity) {
  struct pid_list list = {out, 0, capacity, 0};
  int result = list_pids(directory, &list);
  return result < 0 ? result : (int32_t)list.count;
}

static int contains(const int32_t *pids, int64_t count, int32_t pid) {
  for (int64_t i = 0; i < count; i++) {
    if (pids[i] == pid) return 1;
  }
  return 0;
}

/*
 * Sends a signal to those of `targets` that are members. First the pidfds, then the list: who is in
 * the list under its pid, and has not died since, is who the pidfd was opened for.
 */
static int32_t signal_those(int directory, const int32_t *targets, int count, int32_t signal, int32_t *members, int capacity) {
  int pidfds[64];
  int32_t sent = 0;
  for (int i = 0; i < count; i++) pidfds[i] = (int)RAW2(SYS_pidfd_open, targets[i], 0);
  struct pid_list list = {members, 0, capacity, 0};
  int result = list_pids(directory, &list);
  for (int i = 0; i < count; i++) {
    if (pidfds[i] < 0) continue;
    if (result == 0 && contains(members, list.count, targets[i]) &&
        RAW4(SYS_pidfd_send_signal, pidfds[i], signal, 0, 0) == 0)
      sent++;
    close(pidfds[i]);
  }
  return result < 0 ? result : sent;
}

/* ---- what both kinds of tree are asked ------------------------------------------------------- */

/* Room for a table of processes, in words of the kernel's own pages: not of malloc's heap. */
static void *room_take(size_t bytes) {
  void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return room == MAP_FAILED ? NULL : room;
}

/* Signals `count` processes of a cgroup: how many got it. Who is no member, or is gone, does not. */
HAWSER_API int32_t hawser_cgroup_signal(int32_t directory, const int32_t *pids, int32_t count, int32_t signal, int32_t capacity) {
  int32_t *members = room_take((size_t)capacity * sizeof *members);
  if (members == NULL) return -ENOMEM;
  int32_t sent = 0;
  int32_t result = 0;
  for (int32_t at = 0; at < count && result >= 0; at += 64) {
    result = signal_those(directory, pids + at, count - at < 64 ? count - at : 64, signal, members, capacity);
    if (result > 0) sent += result;
  }
  munmap(members, (size_t)capacity * sizeof *members);
  return result < 0 ? result : sent;
}

/* The records of those of `pids` that live: how many, -EMFILE without a descriptor. */
HAWSER_API int32_t hawser_processes(const int32_t *pids, int32_t count, struct process *out) {
  int proc = (int)open_proc();
  if (proc < 0) return proc;
  int32_t found = 0;
  long error = 0;
  for (int32_t i = 0; i < count && !is_out_of_descriptors(error); i++) {
    error = read_process(proc, pids[i], &out[found]);
    if (error == 0) found++;
  }
  close(proc);
  return is_out_of_descriptors(error) ? (int32_t)error : found;
}

/*
 * The command lines of processes, as the kernel has them: NUL-terminated arguments. `out` has
 * `each` bytes for every process, `lengths` how much of them is used.
 */
HAWSER_API int32_t hawser_command_lines(const int32_t *pids, int32_t count, uint8_t *out, int32_t each, int32_t *lengths) {
  char path[64];
  int proc = (int)open_proc();
  if (proc < 0) return proc;
  for (int32_t i = 0; i < count; i++) {
    process_path(path, pids[i], "cmdline");
    long bytes = read_small_file(proc, path, (char *)out + (size_t)i * (size_t)each, each);
    lengths[i] = bytes < 0 ? 0 : (int32_t)bytes;
  }
  close(proc);
  return 0;
}

/* As agentd/src/processes/containment/process-walk.ts fills it in. */
struct walk_request {
  int32_t agent;
  int32_t leader;
  uint32_t slack;
  int32_t marker_bytes;
  int32_t known_count;
  int32_t foreign_count;
};

/*
 * The members of a tree, by kinship and marks (walk.h): their records in `out`, how many, or
 * -ENOBUFS where the machine has more than `capacity` processes.
 */
HAWSER_API int32_t hawser_walk(const struct walk_request *request, const uint8_t *marker, const struct known_process *known,
                               const int32_t *foreign, struct process *out, int32_t capacity) {
  struct walk walk = {
      .agent = request->agent,
      .leader = request->leader,
      .slack_first = request->slack,
      .slack_last = request->slack,
      .marker = (const char *)marker,
      .marker_bytes = request->marker_bytes,
      .known = known,
      .known_count = request->known_count,
      .foreign = foreign,
      .foreign_count = request->foreign_count,
  };
  int proc = (int)open_proc();
  if (proc < 0) return proc;
  long count = read_all_processes(proc, out, capacity);
  if (count >= 0) count = walk_members(proc, &walk, out, count);
  close(proc);
  return (int32_t)count;
}

/* Signals the processes of those records, and no others that have their pids by now: how many got it. */
HAWSER_API int32_t hawser_signal_processes(const struct process *processes, int32_t count, int32_t signal) {
  int proc = (int)open_proc();
  if (proc < 0) return proc;
  int32_t sent = 0;
  for (int32_t i = 0; i < count; i++) {
    if (signal_process(proc, &processes[i], signal) == 0) sent++;
  }
  close(proc);
  return sent;
}

/*
 * Whether this process has children that are not among `foreign`: orphans that it adopted. 1 also
 * where the kernel does not tell (CONFIG_PROC_CHILDREN), or they are too many to look at here.
 */
HAWSER_API int32_t hawser_has_adopted(const int32_t *foreign, int32_t count) {
  char path[64];
  char text[16384];
  int32_t pid = 0;
  int proc = (int)open_proc();
  if (proc < 0) return proc;
  process_path(path, getpid(), "task/");
  process_path(path + strlen(path), getpid(), "children");
  long bytes = read_small_file(proc, path, text, sizeof text);
  close(proc);
  if (bytes < 0 || bytes == (long)sizeof text) return 1;
  for (long i = 0; i < bytes; i++) {
    if (text[i] != ' ') {
      pid = pid * 10 + (text[i] - '0');
      continue;
    }
    if (!contains(foreign, count, pid)) return 1;
    pid = 0;
  }
  return 0;
}
