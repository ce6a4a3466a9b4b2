/* Reading /proc. No libc: see process_table.h. */
#include "process_table.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>

#define STAT_BYTES 1024
#define NAMES_BYTES 32768

long read_small_file(int directory, const char *name, char *buffer, long capacity) {
  long fd = RAW4(SYS_openat, directory, name, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return fd;
  long total = 0;
  while (total < capacity) {
    long count = RAW3(SYS_read, fd, buffer + total, capacity - total);
    if (count == -EINTR) continue;
    if (count < 0) {
      RAW1(SYS_close, fd);
      return count;
    }
    if (count == 0) break;
    total += count;
  }
  RAW1(SYS_close, fd);
  return total;
}

long open_proc(void) { return RAW4(SYS_openat, AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0); }

void process_path(char *buffer, int32_t pid, const char *name) {
  char digits[12];
  int count = 0;
  do digits[count++] = (char)('0' + pid % 10);
  while ((pid /= 10) > 0);
  while (count > 0) *buffer++ = digits[--count];
  *buffer++ = '/';
  while ((*buffer++ = *name++) != 0) continue;
}

/* ---- /proc/PID/stat -------------------------------------------------------------------------- */

/* The number at *cursor, which then stands behind the space after it. Signs are passed over: no field needs one. */
static uint64_t next_number(const char **cursor, const char *end) {
  uint64_t value = 0;
  while (*cursor < end && **cursor != ' ') {
    if (**cursor >= '0' && **cursor <= '9') value = value * 10 + (uint64_t)(**cursor - '0');
    (*cursor)++;
  }
  (*cursor)++;
  return value;
}

static void skip_numbers(const char **cursor, const char *end, int count) {
  while (count-- > 0) next_number(cursor, end);
}

/* The name may hold anything, parentheses and spaces included: it ends at the last `)`. */
static long parse_stat(const char *text, long bytes, struct process *process) {
  const char *end = text + bytes;
  const char *open = text;
  const char *close = end - 1;
  while (open < end && *open != '(') open++;
  while (close > open && *close != ')') close--;
  if (close <= open || close + 4 >= end) return -ESRCH;
  int at = 0;
  for (const char *name = open + 1; name < close && at < 15; name++) process->name[at++] = *name;
  while (at < 16) process->name[at++] = 0;
  const char *cursor = close + 2;
  process->state = *cursor;
  cursor += 2;
  process->parent = (int32_t)next_number(&cursor, end);
  process->group = (int32_t)next_number(&cursor, end);
  process->session = (int32_t)next_number(&cursor, end);
  skip_numbers(&cursor, end, 7); /* tty_nr to cmajflt */
  process->user_ticks = next_number(&cursor, end);
  process->system_ticks = next_number(&cursor, end);
  skip_numbers(&cursor, end, 4); /* cutime to nice */
  process->threads = (int32_t)next_number(&cursor, end);
  skip_numbers(&cursor, end, 1); /* itrealvalue */
  process->start_ticks = next_number(&cursor, end);
  skip_numbers(&cursor, end, 1); /* vsize */
  process->rss_pages = next_number(&cursor, end);
  return 0;
}

long read_process(int proc, int32_t pid, struct process *process) {
  char path[64];
  char text[STAT_BYTES];
  process_path(path, pid, "stat");
  long bytes = read_small_file(proc, path, text, sizeof text);
  if (bytes == -ENOENT) return -ESRCH;
  if (bytes < 0) return bytes;
  process->pid = pid;
  return parse_stat(text, bytes, process);
}

/* ---- directories ----------------------------------------------------------------------------- */

/* struct linux_dirent64, as getdents64(2) has it. */
struct entry {
  uint64_t inode;
  int64_t offset;
  uint16_t bytes;
  uint8_t type;
  char name[];
};

static int32_t number_of(const char *name) {
  int32_t number = 0;
  for (; *name != 0; name++) {
    if (*name < '0' || *name > '9' || number > 99999999) return -1;
    number = number * 10 + (*name - '0');
  }
  return number;
}

long each_number_in(int directory, long (*visit)(void *context, int32_t number), void *context) {
  char names[NAMES_BYTES] __attribute__((aligned(8)));
  for (;;) {
    long bytes = RAW3(SYS_getdents64, directory, names, sizeof names);
    if (bytes <= 0) return bytes;
    for (long at = 0; at < bytes;) {
      const struct entry *entry = (const struct entry *)(names + at);
      int32_t number = number_of(entry->name);
      long result = number > 0 ? visit(context, number) : 0;
      if (result != 0) return result;
      at += entry->bytes;
    }
  }
}

struct listing {
  int proc;
  struct process *out;
  long count;
  long capacity;
};

static long list_one(void *context, int32_t pid) {
  struct listing *listing = context;
  if (listing->count == listing->capacity) return -ENOBUFS;
  long error = read_process(listing->proc, pid, &listing->out[listing->count]);
  if (is_out_of_descriptors(error)) return error;
  /* Gone since it was named: no process. */
  if (error == 0) listing->count++;
  return 0;
}

long read_all_processes(int proc, struct process *out, long capacity) {
  struct listing listing = {proc, out, 0, capacity};
  RAW3(SYS_lseek, proc, 0, 0);
  long result = each_number_in(proc, list_one, &listing);
  return result < 0 ? result : listing.count;
}

/* ---- signals --------------------------------------------------------------------------------- */

long signal_process(int proc, const struct process *process, int signal) {
  long pidfd = RAW2(SYS_pidfd_open, process->pid, 0);
  if (pidfd < 0) return pidfd;
  struct process now;
  long result = read_process(proc, process->pid, &now);
  /* If it is the same one now, the pidfd, which is older, cannot be of another. */
  if (result == 0 && now.start_ticks != process->start_ticks) result = -ESRCH;
  if (result == 0) result = RAW4(SYS_pidfd_send_signal, pidfd, signal, 0, 0);
  RAW1(SYS_close, pidfd);
  return result;
}
