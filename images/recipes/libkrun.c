/*
 * Runs the agent in libkrun: libkrun ROOT SOCKET
 *
 * ROOT is a folder with a root file system to which `npm run image -- --overlay` has added the agent,
 * SOCKET the Unix socket to make. libkrun brings its kernel (libkrunfw) and an init that starts the agent.
 *
 *     cc -o libkrun libkrun.c -lkrun
 *     ./libkrun root agent.sock
 *     hawser exec unix:agent.sock -- uname -a
 *
 * Made by `npm run recipes` from images/recipes.ts: change it there.
 */
#include <errno.h>
#include <libkrun.h>
#include <stdio.h>
#include <string.h>

static int check(int result, const char *what) {
  if (result < 0) fprintf(stderr, "%s: %s\n", what, strerror(-result));
  return result;
}

int main(int argc, char **argv) {
  /* As in the overlay's own unit: the agent's Node with the agent's libraries. */
  const char *const words[] = {"--library-path", "/opt/hawser/lib", "/opt/hawser/bin/node", "/opt/hawser/agentd.cjs",
                               "--listen", "vsock:5000", NULL};
  const char *const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", NULL};
  if (argc != 3) {
    fprintf(stderr, "usage: %s ROOT SOCKET\n", argv[0]);
    return 2;
  }
  int context = check(krun_create_ctx(), "krun_create_ctx");
  if (context < 0) return 1;
  if (check(krun_set_vm_config(context, 1, 512), "krun_set_vm_config") < 0) return 1;
  if (check(krun_set_root(context, argv[1]), "krun_set_root") < 0) return 1;
  /* The last argument: libkrun listens on the host, and the guest on the vsock port. */
  if (check(krun_add_vsock_port2(context, 5000, argv[2], true), "krun_add_vsock_port2") < 0) return 1;
  if (check(krun_set_exec(context, "/opt/hawser/lib/ld.so", words, environment), "krun_set_exec") < 0) return 1;
  /* Comes back only when it fails. */
  return check(krun_start_enter(context), "krun_start_enter") < 0;
}
