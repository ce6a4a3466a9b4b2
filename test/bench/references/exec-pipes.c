/* The floor of a piped exec: posix_spawn of /bin/true with three pipes, both outputs read to their end, waitpid. */
#define _GNU_SOURCE
#include "server.h"
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct command {
  pid_t pid;
  int in, out, err;
};

static struct command launch(void) {
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) fail("pipe2");

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);

  struct command command = {.in = in[1], .out = out[0], .err = err[0]};
  char *arguments[] = {"/bin/true", NULL};
  if (posix_spawn(&command.pid, arguments[0], &actions, NULL, arguments, environ)) fail("posix_spawn");

  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  close(err[1]);
  return command;
}

static void finish(struct command command) {
  char buffer[4096];
  while (read(command.out, buffer, sizeof buffer) > 0) {
  }
  while (read(command.err, buffer, sizeof buffer) > 0) {
  }
  int status;
  if (waitpid(command.pid, &status, 0) < 0) fail("waitpid");
  close(command.in);
  close(command.out);
  close(command.err);
}

static void run_at_once(int count) {
  struct command commands[AT_ONCE_MAX];
  for (int i = 0; i < count; i++) commands[i] = launch();
  for (int i = 0; i < count; i++) finish(commands[i]);
}

int main(void) { return serve(run_at_once); }
