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

#endif
