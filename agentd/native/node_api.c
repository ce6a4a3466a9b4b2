/*
 * The library as a Node add-on (process.dlopen): the functions that every start, a guest's first
 * process and every command need, and the poller's place in Node's event loop. An FFI package for them
 * would have to be loaded first, which is a tenth of the agent's start.
 */
#include "hawser.h"
#include "node_api_subset.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- arguments and results ------------------------------------------------------------------ */

#define ARGUMENTS_MAX 7

static int32_t i32(napi_env env, napi_value value) {
  int32_t number = 0;
  napi_get_value_int32(env, value, &number);
  return number;
}

static uint32_t u32(napi_env env, napi_value value) {
  uint32_t number = 0;
  napi_get_value_uint32(env, value, &number);
  return number;
}

static int64_t i64(napi_env env, napi_value value) {
  int64_t number = 0;
  napi_get_value_int64(env, value, &number);
  return number;
}

/* The memory of a typed array, during the call; NULL for anything else, null above all. */
static void *memory(napi_env env, napi_value value) {
  bool is_array = false;
  void *data = NULL;
  if (napi_is_typedarray(env, value, &is_array) != NAPI_OK || !is_array) return NULL;
  napi_get_typedarray_info(env, value, NULL, NULL, &data, NULL, NULL);
  return data;
}

static napi_value number(napi_env env, int64_t result) {
  napi_value value = NULL;
  if (result >= INT32_MIN && result <= INT32_MAX) napi_create_int32(env, (int32_t)result, &value);
  else napi_create_int64(env, result, &value);
  return value;
}

#define FUNCTION(name, call)                                         \
  static napi_value name(napi_env env, napi_callback_info info) {    \
    napi_value a[ARGUMENTS_MAX];                                     \
    size_t count = ARGUMENTS_MAX;                                    \
    napi_get_cb_info(env, info, &count, a, NULL, NULL);              \
    return number(env, call);                                        \
  }

#define I32(n) i32(env, a[n])
#define U32(n) u32(env, a[n])
#define I64(n) i64(env, a[n])
#define MEMORY(n) memory(env, a[n])

FUNCTION(js_launch, hawser_launch(MEMORY(0), U32(1), MEMORY(2)))
FUNCTION(js_launch_release, hawser_launch_release(I32(0)))
FUNCTION(js_launch_ahead, hawser_launch_ahead())
FUNCTION(js_wait_pidfd, hawser_wait_pidfd(I32(0), MEMORY(1)))
FUNCTION(js_signal_pidfd, hawser_signal_pidfd(I32(0), I32(1)))
FUNCTION(js_kill, hawser_kill(I32(0), I32(1)))
FUNCTION(js_prlimit, hawser_prlimit(I32(0), I32(1), MEMORY(2), MEMORY(3)))
FUNCTION(js_random, hawser_random(MEMORY(0), I64(1)))
FUNCTION(js_read, hawser_read(I32(0), MEMORY(1), I64(2), I64(3)))
FUNCTION(js_write2, hawser_write2(I32(0), MEMORY(1), I64(2), I64(3), MEMORY(4), I64(5), I64(6)))
FUNCTION(js_available, hawser_available(I32(0)))
FUNCTION(js_close, hawser_close(I32(0)))
FUNCTION(js_open, hawser_open(MEMORY(0), I32(1), U32(2)))
FUNCTION(js_set_nonblock, hawser_set_nonblock(I32(0)))
FUNCTION(js_set_cloexec, hawser_set_cloexec(I32(0)))
FUNCTION(js_duplicate, hawser_duplicate(I32(0)))
FUNCTION(js_pipe_capacity, hawser_pipe_capacity(I32(0), I32(1)))
FUNCTION(js_foreground_group, hawser_foreground_group(I32(0)))
FUNCTION(js_terminal_eof, hawser_terminal_eof(I32(0)))
FUNCTION(js_window_size, hawser_window_size(I32(0), MEMORY(1)))
FUNCTION(js_set_window_size, hawser_set_window_size(I32(0), U32(1), U32(2), U32(3), U32(4)))
FUNCTION(js_listen_unix, hawser_listen_unix(MEMORY(0), U32(1)))
FUNCTION(js_accept, hawser_accept(I32(0), MEMORY(1)))
FUNCTION(js_listen_vsock, hawser_listen_vsock(U32(0)))
FUNCTION(js_next_zombie, hawser_next_zombie())
FUNCTION(js_reap, hawser_reap(I32(0)))
FUNCTION(js_become_subreaper, hawser_become_subreaper())
FUNCTION(js_shorten_slices, hawser_shorten_slices())
FUNCTION(js_yield_processor, hawser_yield_processor())
FUNCTION(js_has_adopted, hawser_has_adopted(MEMORY(0), I32(1)))
FUNCTION(js_page_bytes, hawser_page_bytes())
FUNCTION(js_read_at, hawser_read_at(I32(0), MEMORY(1), MEMORY(2), I64(3)))
FUNCTION(js_write_at, hawser_write_at(I32(0), MEMORY(1), MEMORY(2), I64(3)))
FUNCTION(js_open_at, hawser_open_at(I32(0), MEMORY(1)))
FUNCTION(js_open_directory, hawser_open_directory(I32(0), MEMORY(1), I32(2)))
FUNCTION(js_lock, hawser_lock(I32(0)))
FUNCTION(js_cgroup_remove, hawser_cgroup_remove(I32(0), MEMORY(1)))
FUNCTION(js_cgroup_events, hawser_cgroup_events(I32(0)))
FUNCTION(js_cgroup_cpu, hawser_cgroup_cpu(I32(0), MEMORY(1)))
FUNCTION(js_cgroup_pids, hawser_cgroup_pids(I32(0), MEMORY(1), I32(2)))
FUNCTION(js_cgroup_signal, hawser_cgroup_signal(I32(0), MEMORY(1), I32(2), I32(3), I32(4)))
FUNCTION(js_walk, hawser_walk(MEMORY(0), MEMORY(1), MEMORY(2), MEMORY(3), MEMORY(4), I32(5)))
FUNCTION(js_signal_processes, hawser_signal_processes(MEMORY(0), I32(1), I32(2)))
FUNCTION(js_open_pidfd, hawser_open_pidfd(I32(0)))
FUNCTION(js_dup3, hawser_dup3(I32(0), I32(1)))
FUNCTION(js_unmount, hawser_unmount(MEMORY(0), I32(1)))
FUNCTION(js_sync, hawser_sync())
FUNCTION(js_set_clock, hawser_set_clock(I64(0)))
FUNCTION(js_mount, hawser_mount(MEMORY(0), MEMORY(1), MEMORY(2), U32(3), MEMORY(4)))
FUNCTION(js_reboot, hawser_reboot(U32(0)))
FUNCTION(js_set_hostname, hawser_set_hostname(MEMORY(0)))
FUNCTION(js_loopback_up, hawser_loopback_up())
FUNCTION(js_descriptors_to_spare, hawser_descriptors_to_spare())
FUNCTION(js_epoll_control, hawser_epoll_control(I32(0), I32(1), I32(2), U32(3), U32(4)))

/* ---- the poller ------------------------------------------------------------------------------ */

/* An epoll descriptor that Node's loop polls: an epoll is itself readable when it has something. */
struct poller {
  struct poller *next;
  int epoll;
  napi_env env;
  uv_poll_t *handle;
  uv_prepare_t *before_sleep;
  napi_ref callback;
  napi_ref events;
  uint32_t *event_words;
  napi_async_context context;
};

static struct poller *pollers;

#define ROUNDS_MAX 4 /* of events that are served at one turn of the loop */

static void poller_free(struct poller *poller) {
  if (poller->callback != NULL) napi_delete_reference(poller->env, poller->callback);
  if (poller->events != NULL) napi_delete_reference(poller->env, poller->events);
  if (poller->context != NULL) napi_async_destroy(poller->env, poller->context);
  if (poller->epoll >= 0) close(poller->epoll);
  free(poller->handle);
  free(poller->before_sleep);
  free(poller);
}

static void before_sleep_closed(uv_handle_t *handle) {
  struct poller *poller = uv_handle_get_data(handle);
  napi_handle_scope scope;
  if (napi_open_handle_scope(poller->env, &scope) != NAPI_OK) return;
  napi_env env = poller->env;
  poller_free(poller);
  napi_close_handle_scope(env, scope);
}

static void handle_closed(uv_handle_t *handle) {
  struct poller *poller = uv_handle_get_data(handle);
  uv_close((uv_handle_t *)poller->before_sleep, before_sleep_closed);
}

/* Tells JavaScript how many events there are, which are in its array. */
static void tell(struct poller *poller, int32_t count) {
  napi_env env = poller->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != NAPI_OK) return;
  napi_value callback, self, thrown;
  napi_get_reference_value(env, poller->callback, &callback);
  napi_get_global(env, &self);
  napi_value argument = number(env, count);
  if (napi_make_callback(env, poller->context, self, callback, 1, &argument, NULL) != NAPI_OK) {
    if (napi_get_and_clear_last_exception(env, &thrown) == NAPI_OK) napi_fatal_exception(env, thrown);
  }
  napi_close_handle_scope(env, scope);
}

/*
 * Something is ready. What becomes ready meanwhile (a process that dies closes its pipes before it is
 * dead) is told in the same turn of the loop, which costs more than looking once more; but the loop
 * has others to serve.
 */
static void handle_ready(uv_poll_t *handle, int status, int events) {
  struct poller *poller = uv_handle_get_data((uv_handle_t *)handle);
  (void)status;
  (void)events;
  if (hawser_many_launches()) hawser_go_first();
  for (int round = 0; round < ROUNDS_MAX && poller->epoll >= 0; round++) {
    int32_t count = hawser_epoll_wait(poller->epoll, poller->event_words);
    if (count == 0) return;
    tell(poller, count);
  }
}

/* What this turn of the loop was for is done, also by what it has put off (setImmediate). */
static void handle_sleep(uv_prepare_t *handle) {
  (void)handle;
  hawser_go_as_usual();
}

static int32_t poller_close(int32_t epoll) {
  for (struct poller **at = &pollers; *at != NULL; at = &(*at)->next) {
    struct poller *poller = *at;
    if (poller->epoll != epoll) continue;
    *at = poller->next;
    uv_poll_stop(poller->handle);
    close(poller->epoll);
    poller->epoll = -1;
    uv_close((uv_handle_t *)poller->handle, handle_closed);
    return 0;
  }
  return -EBADF;
}

/* @returns the epoll descriptor, or -errno. */
static int32_t poller_open(napi_env env, napi_value events, napi_value callback) {
  struct poller *poller = calloc(1, sizeof *poller);
  if (poller == NULL) return -ENOMEM;
  poller->env = env;
  poller->epoll = hawser_epoll_create();
  poller->event_words = memory(env, events);
  poller->handle = malloc(uv_handle_size(UV_POLL_HANDLE));
  poller->before_sleep = malloc(uv_handle_size(UV_PREPARE_HANDLE));
  napi_value name;
  struct uv_loop_s *loop;
  int error = poller->epoll < 0 ? poller->epoll : 0;
  if (error == 0 && (poller->handle == NULL || poller->before_sleep == NULL || poller->event_words == NULL)) error = -ENOMEM;
  if (error == 0 && (napi_create_string_utf8(env, "hawser:poller", NAPI_AUTO_LENGTH, &name) != NAPI_OK ||
                     napi_async_init(env, NULL, name, &poller->context) != NAPI_OK ||
                     napi_create_reference(env, events, 1, &poller->events) != NAPI_OK ||
                     napi_create_reference(env, callback, 1, &poller->callback) != NAPI_OK ||
                     napi_get_uv_event_loop(env, &loop) != NAPI_OK))
    error = -EINVAL;
  if (error == 0) error = uv_poll_init(loop, poller->handle, poller->epoll);
  if (error != 0) {
    poller_free(poller);
    return error;
  }
  uv_handle_set_data((uv_handle_t *)poller->handle, poller);
  uv_prepare_init(loop, poller->before_sleep);
  uv_handle_set_data((uv_handle_t *)poller->before_sleep, poller);
  uv_unref((uv_handle_t *)poller->before_sleep);
  poller->next = pollers;
  pollers = poller;
  uv_prepare_start(poller->before_sleep, handle_sleep);
  error = uv_poll_start(poller->handle, UV_READABLE, handle_ready);
  if (error != 0) poller_close(poller->epoll);
  return error == 0 ? poller->epoll : error;
}

FUNCTION(js_poller_open, poller_open(env, a[0], a[1]))
FUNCTION(js_poller_close, poller_close(I32(0)))

/* ---- the module ------------------------------------------------------------------------------ */

static const struct {
  const char *name;
  napi_callback function;
} functions[] = {
    {"launch", js_launch},
    {"launchRelease", js_launch_release},
    {"launchAhead", js_launch_ahead},
    {"waitPidfd", js_wait_pidfd},
    {"signalPidfd", js_signal_pidfd},
    {"kill", js_kill},
    {"prlimit", js_prlimit},
    {"random", js_random},
    {"read", js_read},
    {"write2", js_write2},
    {"available", js_available},
    {"close", js_close},
    {"open", js_open},
    {"setNonblock", js_set_nonblock},
    {"setCloexec", js_set_cloexec},
    {"duplicate", js_duplicate},
    {"pipeCapacity", js_pipe_capacity},
    {"foregroundGroup", js_foreground_group},
    {"terminalEof", js_terminal_eof},
    {"windowSize", js_window_size},
    {"setWindowSize", js_set_window_size},
    {"listenUnix", js_listen_unix},
    {"accept", js_accept},
    {"listenVsock", js_listen_vsock},
    {"nextZombie", js_next_zombie},
    {"reap", js_reap},
    {"becomeSubreaper", js_become_subreaper},
    {"shortenSlices", js_shorten_slices},
    {"yieldProcessor", js_yield_processor},
    {"hasAdopted", js_has_adopted},
    {"pageBytes", js_page_bytes},
    {"readAt", js_read_at},
    {"writeAt", js_write_at},
    {"openAt", js_open_at},
    {"openDirectory", js_open_directory},
    {"lock", js_lock},
    {"cgroupRemove", js_cgroup_remove},
    {"cgroupEvents", js_cgroup_events},
    {"cgroupCpu", js_cgroup_cpu},
    {"cgroupPids", js_cgroup_pids},
    {"cgroupSignal", js_cgroup_signal},
    {"walk", js_walk},
    {"signalProcesses", js_signal_processes},
    {"openPidfd", js_open_pidfd},
    {"dup3", js_dup3},
    {"unmount", js_unmount},
    {"sync", js_sync},
    {"setClock", js_set_clock},
    {"mount", js_mount},
    {"reboot", js_reboot},
    {"setHostname", js_set_hostname},
    {"loopbackUp", js_loopback_up},
    {"descriptorsToSpare", js_descriptors_to_spare},
    {"epollControl", js_epoll_control},
    {"pollerOpen", js_poller_open},
    {"pollerClose", js_poller_close},
};

/*
 * The pieces of spools (64 KiB, protocol/src/spool.ts) come and go by the hundred under a load. From
 * glibc's heap, where it puts them unless told otherwise, they would never go back to the system.
 */
static void give_memory_back(void) {
#ifdef M_MMAP_THRESHOLD
  mallopt(M_MMAP_THRESHOLD, 60 * 1024);
#endif
}

HAWSER_API int32_t node_api_module_get_api_version_v1(void) { return 8; }

HAWSER_API napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  give_memory_back();
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function) != NAPI_OK)
      continue;
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
