/* What the first process of a guest asks of the kernel: mounts, power, host name, network. */
#include "hawser.h"

#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

/* mount(2). Texts are NUL-terminated; `data` may be empty. */
HAWSER_API int32_t hawser_mount(const char *source, const char *target, const char *type, uint32_t flags, const char *data) {
  return result_of(mount(source, target, type, flags, *data == 0 ? NULL : data));
}

/* umount2(2). */
HAWSER_API int32_t hawser_unmount(const char *target, int32_t flags) { return result_of(umount2(target, flags)); }

/* Returns when what was written is on the disks (sync(2), on Linux). */
HAWSER_API int32_t hawser_sync(void) {
  sync();
  return 0;
}

/*
 * reboot(2): RB_AUTOBOOT, RB_HALT_SYSTEM and RB_POWER_OFF come back only where they are refused;
 * RB_DISABLE_CAD makes Ctrl-Alt-Del a SIGINT to the first process.
 */
HAWSER_API int32_t hawser_reboot(uint32_t command) { return result_of(reboot((int)command)); }

HAWSER_API int32_t hawser_set_hostname(const char *name) { return result_of(sethostname(name, strlen(name))); }

/* Brings the loopback interface up; the kernel gives it its addresses then (netdevice(7)). */
HAWSER_API int32_t hawser_loopback_up(void) {
  struct ifreq request;
  int32_t result;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  memset(&request, 0, sizeof request);
  memcpy(request.ifr_name, "lo", sizeof "lo");
  result = result_of(ioctl(fd, SIOCGIFFLAGS, &request));
  if (result >= 0) {
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    result = result_of(ioctl(fd, SIOCSIFFLAGS, &request));
  }
  close(fd);
  return result;
}
