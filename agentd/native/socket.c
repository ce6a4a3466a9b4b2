/* Sockets that Node does not make: vsock, and Unix ones with a mode. */
#include "hawser.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef AF_VSOCK
#define AF_VSOCK 40
#endif

/* struct sockaddr_vm, Linux UAPI vm_sockets.h; spelled out, so that no kernel headers are needed. */
struct vsock_address {
  sa_family_t family;
  uint16_t reserved;
  uint32_t port;
  uint32_t cid;
  uint8_t flags;
  uint8_t zero[3];
};

#define VSOCK_CID_ANY UINT32_MAX
#define BACKLOG 128

/* Closes the descriptor and passes the error on. */
static int32_t closing(int fd, int error) {
  close(fd);
  return -error;
}

/* Both ends non-blocking and close-on-exec. */
HAWSER_API int32_t hawser_socketpair(int32_t *out) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  out[0] = pair[0];
  out[1] = pair[1];
  return 0;
}

/* True when a socket file is there and nobody answers on it. */
static int is_stale(const struct sockaddr_un *address, socklen_t bytes) {
  struct stat found;
  if (lstat(address->sun_path, &found) < 0 || !S_ISSOCK(found.st_mode)) return 0;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  int refused = connect(fd, (const struct sockaddr *)address, bytes) < 0 && errno == ECONNREFUSED;
  close(fd);
  return refused;
}

/*
 * Listens on a Unix socket file. The mode is set on the socket before bind, which Linux takes for
 * the file (unix_bind: the socket inode's mode less the umask): it never exists with wider rights.
 * A file left by a listener that is gone is replaced.
 */
HAWSER_API int32_t hawser_listen_unix(const uint8_t *path, uint32_t mode) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t length = strlen((const char *)path);
  if (length == 0) return -EINVAL;
  if (length >= sizeof address.sun_path) return -ENAMETOOLONG;
  memcpy(address.sun_path, path, length + 1);
  socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);

  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (fchmod(fd, mode & 0777) < 0) return closing(fd, errno);
  int bound = bind(fd, (struct sockaddr *)&address, bytes);
  if (bound < 0 && errno == EADDRINUSE) {
    if (!is_stale(&address, bytes)) return closing(fd, EADDRINUSE);
    if (unlink(address.sun_path) < 0 && errno != ENOENT) return closing(fd, errno);
    bound = bind(fd, (struct sockaddr *)&address, bytes);
  }
  if (bound < 0) return closing(fd, errno);
  /* The umask may have taken bits away; nobody can connect before listen. */
  if (chmod(address.sun_path, mode & 0777) < 0 || listen(fd, BACKLOG) < 0) {
    int error = errno;
    unlink(address.sun_path);
    return closing(fd, error);
  }
  return fd;
}

HAWSER_API int32_t hawser_listen_vsock(uint32_t port) {
  struct vsock_address address = {.family = AF_VSOCK, .port = port, .cid = VSOCK_CID_ANY};
  int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0) return closing(fd, errno);
  return fd;
}

/*
 * Accepts one connection, non-blocking and close-on-exec. `peer`: the address family, then
 * cid and port for vsock; uid, gid and pid for Unix sockets (SO_PEERCRED).
 */
HAWSER_API int32_t hawser_accept(int32_t listener, int64_t *peer) {
  union {
    struct sockaddr any;
    struct vsock_address vsock;
    struct sockaddr_storage room;
  } address;
  int fd;
  do {
    socklen_t bytes = sizeof address;
    memset(&address, 0, sizeof address);
    fd = accept4(listener, &address.any, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
  } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (fd < 0) return -errno;
  peer[0] = address.any.sa_family;
  peer[1] = peer[2] = peer[3] = -1;
  if (address.any.sa_family == AF_VSOCK) {
    peer[1] = address.vsock.cid;
    peer[2] = address.vsock.port;
  } else if (address.any.sa_family == AF_UNIX) {
    struct ucred credentials;
    socklen_t bytes = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) < 0) return closing(fd, errno);
    peer[1] = credentials.uid;
    peer[2] = credentials.gid;
    peer[3] = credentials.pid;
  }
  return fd;
}
