/*
 * The part of Node-API and of libuv that node_api.c uses, so that building needs no Node headers.
 *
 * Both are stable: Node-API's ABI is the same in every Node since version 8 of the API (Node 20 has
 * it; nodejs.org/api/n-api.html), libuv's in all of 1.x. Weak: the launcher's library also loads into
 * a process that is no Node, without this part.
 */
#ifndef HAWSER_NODE_API_SUBSET_H
#define HAWSER_NODE_API_SUBSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEAK __attribute__((weak))

typedef struct napi_env_opaque *napi_env;
typedef struct napi_value_opaque *napi_value;
typedef struct napi_ref_opaque *napi_ref;
typedef struct napi_scope_opaque *napi_handle_scope;
typedef struct napi_context_opaque *napi_async_context;
typedef struct napi_info_opaque *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env env, napi_callback_info info);
typedef int napi_status; /* 0 is napi_ok */

#define NAPI_OK 0
#define NAPI_AUTO_LENGTH SIZE_MAX

WEAK napi_status napi_get_cb_info(napi_env, napi_callback_info, size_t *argc, napi_value *argv, napi_value *self, void **data);
WEAK napi_status napi_get_value_int32(napi_env, napi_value, int32_t *);
WEAK napi_status napi_get_value_uint32(napi_env, napi_value, uint32_t *);
WEAK napi_status napi_get_value_int64(napi_env, napi_value, int64_t *);
WEAK napi_status napi_create_int32(napi_env, int32_t, napi_value *);
WEAK napi_status napi_create_int64(napi_env, int64_t, napi_value *);
WEAK napi_status napi_create_string_utf8(napi_env, const char *, size_t, napi_value *);
WEAK napi_status napi_is_typedarray(napi_env, napi_value, bool *);
WEAK napi_status napi_get_typedarray_info(napi_env, napi_value, int *type, size_t *length, void **data, napi_value *buffer,
                                          size_t *offset);
WEAK napi_status napi_create_function(napi_env, const char *, size_t, napi_callback, void *data, napi_value *);
WEAK napi_status napi_set_named_property(napi_env, napi_value object, const char *, napi_value);
WEAK napi_status napi_get_global(napi_env, napi_value *);
WEAK napi_status napi_create_reference(napi_env, napi_value, uint32_t count, napi_ref *);
WEAK napi_status napi_delete_reference(napi_env, napi_ref);
WEAK napi_status napi_get_reference_value(napi_env, napi_ref, napi_value *);
WEAK napi_status napi_open_handle_scope(napi_env, napi_handle_scope *);
WEAK napi_status napi_close_handle_scope(napi_env, napi_handle_scope);
WEAK napi_status napi_async_init(napi_env, napi_value resource, napi_value name, napi_async_context *);
WEAK napi_status napi_async_destroy(napi_env, napi_async_context);
WEAK napi_status napi_make_callback(napi_env, napi_async_context, napi_value self, napi_value function, size_t argc,
                                    const napi_value *argv, napi_value *result);
WEAK napi_status napi_get_and_clear_last_exception(napi_env, napi_value *);
WEAK napi_status napi_fatal_exception(napi_env, napi_value);

struct uv_loop_s;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_poll_s uv_poll_t; /* each begins as a uv_handle_t does */
typedef struct uv_prepare_s uv_prepare_t;

/* Of enum uv_handle_type. */
#define UV_POLL_HANDLE 8
#define UV_PREPARE_HANDLE 9
#define UV_READABLE 1

WEAK napi_status napi_get_uv_event_loop(napi_env, struct uv_loop_s **);
WEAK size_t uv_handle_size(int type);
WEAK void uv_handle_set_data(uv_handle_t *, void *);
WEAK void *uv_handle_get_data(const uv_handle_t *);
WEAK void uv_unref(uv_handle_t *);
WEAK void uv_close(uv_handle_t *, void (*callback)(uv_handle_t *));
WEAK int uv_poll_init(struct uv_loop_s *, uv_poll_t *, int fd);
WEAK int uv_poll_start(uv_poll_t *, int events, void (*callback)(uv_poll_t *, int status, int events));
WEAK int uv_poll_stop(uv_poll_t *);
WEAK int uv_prepare_init(struct uv_loop_s *, uv_prepare_t *);
WEAK int uv_prepare_start(uv_prepare_t *, void (*callback)(uv_prepare_t *));

#endif
