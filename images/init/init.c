/*
 * /init of a Hawser image: the first process, until the agent takes its place.
 *
 * Does what must be done before Node can start, and no more: /dev, /proc, /sys, the kernel modules
 * that the lines and the disk need, the switch to the root disk where there is one. What and in
 * which order is in /etc/hawser/init, one item a line, made by the image builder:
 *
 *   module PATH                 insert it (finit_module(2)); a failure is logged and nothing more
 *   root DEVICE TYPE ro|rw      wait for the disk, mount it, and go on with the list that is on it;
 *                               `rw` on the kernel's command line makes it writable all the same
 *   env NAME=VALUE              for the program
 *   exec WORD                   a word of the program's command line; the first is its path
 *
 * What the kernel was given after `--` is added to the program's words. Linked statically, so that
 * the initramfs of a disk image needs no libraries.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LIST "/etc/hawser/init"
#define NEW_ROOT "/newroot"
#define LIST_BYTES (64 * 1024)
#define WORDS_MAX 64
#define DEVICE_WAIT_MS 10000

#ifndef MODULE_INIT_COMPRESSED_FILE
#define MODULE_INIT_COMPRESSED_FILE 4 /* Linux 5.17 */
#endif

static int log_fd = -1;

/* To the kernel's log, with its time stamps; level 6 is not printed on a quiet console, 3 is. */
static void say(int level, const char *format, ...) {
  char text[512];
  int head = snprintf(text, sizeof text, "<%d>hawser-init: ", level);
  va_list arguments;
  va_start(arguments, format);
  int body = vsnprintf(text + head, sizeof text - (size_t)head, format, arguments);
  va_end(arguments);
  size_t length = (size_t)head + (size_t)body;
  if (length > sizeof text - 1) length = sizeof text - 1;
  if (log_fd < 0) log_fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
  if (write(log_fd < 0 ? 2 : log_fd, text, length) < 0) return;
}

static void sleep_ms(long ms) {
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

/* Without an end there is nothing to run: the kernel panics when PID 1 exits, and says so. */
static void fail(const char *what, const char *name) {
  say(2, "%s %s: %s", what, name, strerror(errno));
  _exit(1);
}

static void mount_early(const char *type, const char *path) {
  mkdir(path, 0755);
  if (mount(type, path, type, MS_NOSUID, NULL) < 0 && errno != EBUSY) say(3, "mount %s: %s", path, strerror(errno));
}

/* The kernel opens /dev/console for its first process, where that exists already. */
static void open_console(void) {
  int fd = open("/dev/console", O_RDWR | O_NOCTTY);
  if (fd < 0) fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd < 2) fd = dup(fd);
}

/* Into the given memory, as a text. @returns 0 where it cannot be read. */
static int read_file(const char *path, char *text, size_t bytes) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t length = 0, count;
  while ((count = read(fd, text + length, bytes - 1 - (size_t)length)) > 0) length += count;
  close(fd);
  text[length] = 0;
  return 1;
}

/* What the kernel's command line says for a module, `virtio_mmio.device=...`: modprobe's work, elsewhere. */
static void parameters_for(const char *path, char *parameters, size_t bytes) {
  char text[4096], *rest = text, *word;
  const char *name = strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;
  size_t length = strcspn(name, "."), used = 0;
  parameters[0] = 0;
  if (!read_file("/proc/cmdline", text, sizeof text)) return;
  while ((word = strsep(&rest, " \n")) != NULL) {
    size_t i = 0;
    while (i < length && (word[i] == name[i] || (strchr("-_", word[i]) && word[i] && strchr("-_", name[i])))) i++;
    if (i < length || word[length] != '.') continue;
    int written = snprintf(parameters + used, bytes - used, "%s%s", used > 0 ? " " : "", word + length + 1);
    if (written > 0 && used + (size_t)written < bytes) used += (size_t)written;
  }
}

static void insert_module(const char *path) {
  char parameters[1024];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    say(3, "module %s: %s", path, strerror(errno));
    return;
  }
  size_t length = strlen(path);
  int plain = length > 3 && strcmp(path + length - 3, ".ko") == 0;
  parameters_for(path, parameters, sizeof parameters);
  if (syscall(SYS_finit_module, fd, parameters, plain ? 0 : MODULE_INIT_COMPRESSED_FILE) < 0 && errno != EEXIST)
    say(3, "module %s: %s", path, strerror(errno));
  close(fd);
}

/* Disks appear some time after their driver. */
static void await_device(const char *device) {
  struct stat status;
  for (int waited = 0; stat(device, &status) < 0; waited += 10) {
    if (waited >= DEVICE_WAIT_MS) fail("root disk", device);
    sleep_ms(10);
  }
}

static int kernel_says_rw(void) {
  static char text[4096];
  char *rest = text;
  if (!read_file("/proc/cmdline", text, sizeof text)) return 0;
  for (char *word; (word = strsep(&rest, " \n")) != NULL;)
    if (strcmp(word, "rw") == 0) return 1;
  return 0;
}

/* As switch_root(8): the mounts move along, and the new root takes the place of the old. */
static void switch_root(char *arguments) {
  char *rest = arguments;
  char *device = strsep(&rest, " ");
  char *type = strsep(&rest, " ");
  int read_write = (rest != NULL && strcmp(rest, "rw") == 0) || kernel_says_rw();
  if (device == NULL || type == NULL) {
    errno = EINVAL;
    fail("root", LIST);
  }
  await_device(device);
  mkdir(NEW_ROOT, 0755);
  if (mount(device, NEW_ROOT, type, read_write ? 0 : MS_RDONLY, NULL) < 0) fail("mount of the root disk", device);
  static const char *const moved[] = {"/dev", "/proc", "/sys"};
  for (unsigned i = 0; i < sizeof moved / sizeof *moved; i++) {
    char target[64];
    snprintf(target, sizeof target, NEW_ROOT "%s", moved[i]);
    if (mount(moved[i], target, NULL, MS_MOVE, NULL) < 0) say(3, "mount --move %s: %s", moved[i], strerror(errno));
  }
  if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
    fail("switch to the root disk", device);
}

static char *words[WORDS_MAX + 1];
static int word_count;

static void do_list(void) {
  char *text = malloc(LIST_BYTES), *list = text;
  if (text == NULL || !read_file(LIST, text, LIST_BYTES)) fail("open", LIST);
  for (char *line; (line = strsep(&list, "\n")) != NULL;) {
    char *verb = strsep(&line, " ");
    if (line == NULL) continue;
    if (strcmp(verb, "module") == 0) insert_module(line);
    else if (strcmp(verb, "env") == 0) putenv(line);
    else if (strcmp(verb, "exec") == 0 && word_count < WORDS_MAX) words[word_count++] = line;
    else if (strcmp(verb, "root") == 0) {
      switch_root(line);
      do_list();
      return;
    }
  }
}

int main(int argc, char **argv) {
  mount_early("devtmpfs", "/dev");
  mount_early("proc", "/proc");
  mount_early("sysfs", "/sys");
  if (fcntl(0, F_GETFD) < 0) open_console();
  say(6, "started");
  do_list();
  for (int i = 1; i < argc && word_count < WORDS_MAX; i++) words[word_count++] = argv[i];
  say(6, "modules are in; starting %s", word_count > 0 ? words[0] : "nothing");
  if (word_count == 0) {
    errno = EINVAL;
    fail("nothing to start in", LIST);
  }
  execv(words[0], words);
  fail("start", words[0]);
}
