/*
 * libhawser: what the agent needs of the kernel and Node does not offer.
 *
 * Every function returns >= 0, or a negative errno. `errno` itself is never part of the contract,
 * because the FFI layer between may change it. All functions are called from one thread, the one
 * that runs JavaScript.
 */
#ifndef HAWSER_H
#define HAWSER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdint.h>

#define HAWSER_API __attribute__((visibility("default")))

/* The result of a libc call in the form of this library. */
static inline int32_t result_of(long value) { return value < 0 ? -errno : (int32_t)value; }

struct known_process;
struct process;
struct walk_request;

/* Those that node_api.c hands on; the contract of each is at its definition. */

/* descriptor.c */
int64_t hawser_read(int32_t fd, uint8_t *buffer, int64_t offset, int64_t length);
int64_t hawser_write2(int32_t fd, uint8_t *head, int64_t head_offset, int64_t head_length, uint8_t *body, int64_t body_offset, int64_t body_length);
int32_t hawser_available(int32_t fd);
int32_t hawser_close(int32_t fd);
int32_t hawser_open(const uint8_t *path, int32_t flags, uint32_t mode);
int32_t hawser_set_nonblock(int32_t fd);
int32_t hawser_set_cloexec(int32_t fd);
int32_t hawser_dup3(int32_t from, int32_t to);
int32_t hawser_duplicate(int32_t fd);
int32_t hawser_pipe_capacity(int32_t fd, int32_t bytes);
int32_t hawser_foreground_group(int32_t fd);
int32_t hawser_terminal_eof(int32_t fd);
int32_t hawser_window_size(int32_t fd, uint16_t *out);
int32_t hawser_set_window_size(int32_t fd, uint32_t columns, uint32_t rows, uint32_t xpixel, uint32_t ypixel);
int32_t hawser_descriptors_to_spare(void);
int32_t hawser_epoll_create(void);
int32_t hawser_epoll_control(int32_t epoll, int32_t operation, int32_t fd, uint32_t events, uint32_t generation);
int32_t hawser_epoll_wait(int32_t epoll, uint32_t *out);

/* cgroup.c */
int64_t hawser_read_at(int32_t directory, const uint8_t *name, uint8_t *buffer, int64_t capacity);
int32_t hawser_write_at(int32_t directory, const uint8_t *name, const uint8_t *bytes, int64_t count);
int32_t hawser_open_at(int32_t directory, const uint8_t *name);
int32_t hawser_open_directory(int32_t parent, const uint8_t *path, int32_t make);
int32_t hawser_lock(int32_t fd);
int32_t hawser_cgroup_remove(int32_t parent, const uint8_t *name);
int32_t hawser_cgroup_events(int32_t fd);
int32_t hawser_cgroup_cpu(int32_t fd, double *times);
int32_t hawser_cgroup_pids(int32_t directory, int32_t *out, int32_t capacity);
int32_t hawser_cgroup_signal(int32_t directory, const int32_t *pids, int32_t count, int32_t signal, int32_t capacity);
int32_t hawser_walk(const struct walk_request *request, const uint8_t *marker, const struct known_process *known,
                    const int32_t *foreign, struct process *out, int32_t capacity);
int32_t hawser_signal_processes(const struct process *processes, int32_t count, int32_t signal);
int32_t hawser_has_adopted(const int32_t *foreign, int32_t count);

/* guest.c */
int32_t hawser_mount(const char *source, const char *target, const char *type, uint32_t flags, const char *data);
int32_t hawser_unmount(const char *target, int32_t flags);
int32_t hawser_sync(void);
int32_t hawser_reboot(uint32_t command);
int32_t hawser_set_hostname(const char *name);
int32_t hawser_loopback_up(void);

/* launcher.c */
int32_t hawser_launch(const uint8_t *request, uint32_t request_bytes, int32_t *out);
int32_t hawser_launch_release(int32_t handle);
int32_t hawser_launch_ahead(void);
int hawser_many_launches(void);

/* process.c */
int32_t hawser_wait_pidfd(int32_t pidfd, double *out);
int32_t hawser_signal_pidfd(int32_t pidfd, int32_t signal);
int32_t hawser_kill(int32_t pid, int32_t signal);
int32_t hawser_prlimit(int32_t pid, int32_t resource, const uint64_t *new_pair, uint64_t *old_pair);
int64_t hawser_random(uint8_t *buffer, int64_t bytes);
int32_t hawser_next_zombie(void);
int32_t hawser_reap(int32_t pid);
int32_t hawser_become_subreaper(void);
int32_t hawser_page_bytes(void);
int32_t hawser_open_pidfd(int32_t pid);

/* restore.c */
int32_t hawser_set_clock(int64_t us);

/* scheduling.c */
int32_t hawser_shorten_slices(void);
void hawser_go_first(void);
void hawser_go_as_usual(void);
int32_t hawser_yield_processor(void);

/* socket.c */
int32_t hawser_listen_unix(const uint8_t *path, uint32_t mode);
int32_t hawser_listen_vsock(uint32_t port);
int32_t hawser_accept(int32_t listener, int64_t *peer);

#endif
