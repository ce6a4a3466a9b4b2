/* The floor of a terminal exec: forkpty of /bin/true, the master read until it says EIO, waitpid. */
#define _GNU_SOURCE
#include "server.h"
#include <fcntl.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

struct command {
  pid_t pid;
  int master;
};

static struct command launch(void) {
  struct command command;
  struct winsize size = {.ws_row = 24, .ws_col = 80};
  command.pid = forkpty(&command.master, NULL, NULL, &size);
  if (command.pid < 0) fail("forkpty");
  if (command.pid == 0) {
    execl("/bin/true", "/bin/true", (char *)NULL);
    _exit(127);
  }
  fcntl(command.master, F_SETFD, FD_CLOEXEC);
  return command;
}

static void finish(struct command command) {
  char buffer[4096];
  while (read(command.master, buffer, sizeof buffer) > 0) {
  }
  int status;
  if (waitpid(command.pid, &status, 0) < 0) fail("waitpid");
  close(command.master);
}

static void run_at_once(int count) {
  struct command commands[AT_ONCE_MAX];
  for (int i = 0; i < count; i++) commands[i] = launch();
  for (int i = 0; i < count; i++) finish(commands[i]);
}

int main(void) { return serve(run_at_once); }
