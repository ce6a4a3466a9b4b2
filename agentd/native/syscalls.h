/*
 * Raw system calls for the child of a CLONE_VM launch.
 *
 * The child shares the agent's memory, and with it the thread-local `errno` of the thread that
 * launched it. libc's wrappers, syscall() among them, write errno; some take locks or signal every
 * thread (setuid). So the child uses these only. They return the kernel's value: negative is -errno.
 */
#ifndef HAWSER_SYSCALLS_H
#define HAWSER_SYSCALLS_H

#include <stdint.h>
#include <sys/syscall.h>

/* Numbers that every architecture shares, and that older headers lack. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* Of futex(2), between threads and processes that share memory. */
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

/* struct clone_args of clone(2), up to CLONE_ARGS_SIZE_VER2; spelled out, so that no kernel headers are needed. */
struct clone3_arguments {
  uint64_t flags;
  uint64_t pidfd;
  uint64_t child_tid;
  uint64_t parent_tid;
  uint64_t exit_signal;
  uint64_t stack;
  uint64_t stack_size;
  uint64_t tls;
  uint64_t set_tid;
  uint64_t set_tid_size;
  uint64_t cgroup;
};

#if defined(__x86_64__)

static inline long raw5(long number, long a, long b, long c, long d, long e) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}

/* mmap(2) of private, anonymous memory, which has one argument more than raw5 has: its offset is 0. */
static inline long raw_anonymous_memory(unsigned long bytes) {
  long result;
  register long r10 __asm__("r10") = 0x4022; /* MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE */
  register long r8 __asm__("r8") = -1;
  register long r9 __asm__("r9") = 0;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"((long)SYS_mmap), "D"(0L), "S"(bytes), "d"(3L), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

/*
 * clone(2) with a stack of its own: the child calls entry(argument) there and never returns.
 * `pidfd` receives the descriptor that CLONE_PIDFD makes. `stack_top` is 16-byte aligned.
 */
static inline long raw_clone(unsigned long flags, void *stack_top, int *pidfd, void (*entry)(void *), void *argument) {
  void **top = (void **)stack_top - 2;
  long result;
  register long r10 __asm__("r10") = 0;
  register long r8 __asm__("r8") = 0;
  top[0] = (void *)entry;
  top[1] = argument;
  __asm__ volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"
      "popq %%rax\n\t"
      "popq %%rdi\n\t"
      "callq *%%rax\n\t"
      "hlt\n"
      "1:"
      : "=a"(result)
      : "a"((long)SYS_clone), "D"(flags), "S"(top), "d"(pidfd), "r"(r10), "r"(r8)
      : "rcx", "r11", "memory", "cc");
  return result;
}

/*
 * clone3(2), otherwise as raw_clone. The stack goes from `stack_bottom` to `stack_top`; both it and
 * the entry are filled in here.
 */
static inline long raw_clone3(struct clone3_arguments *arguments, void *stack_bottom, void *stack_top,
                              void (*entry)(void *), void *argument) {
  void **top = (void **)stack_top - 2;
  long result;
  top[0] = (void *)entry;
  top[1] = argument;
  arguments->stack = (uint64_t)(uintptr_t)stack_bottom;
  arguments->stack_size = (uint64_t)((char *)top - (char *)stack_bottom);
  __asm__ volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"
      "popq %%rax\n\t"
      "popq %%rdi\n\t"
      "callq *%%rax\n\t"
      "hlt\n"
      "1:"
      : "=a"(result)
      : "a"((long)SYS_clone3), "D"(arguments), "S"(sizeof *arguments)
      : "rcx", "r11", "memory", "cc");
  return result;
}

#elif defined(__aarch64__)

static inline long raw5(long number, long a, long b, long c, long d, long e) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory", "cc");
  return x0;
}

static inline long raw_anonymous_memory(unsigned long bytes) {
  register long x8 __asm__("x8") = SYS_mmap;
  register long x0 __asm__("x0") = 0;
  register long x1 __asm__("x1") = (long)bytes;
  register long x2 __asm__("x2") = 3;
  register long x3 __asm__("x3") = 0x4022;
  register long x4 __asm__("x4") = -1;
  register long x5 __asm__("x5") = 0;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
  return x0;
}

static inline long raw_clone(unsigned long flags, void *stack_top, int *pidfd, void (*entry)(void *), void *argument) {
  void **top = (void **)stack_top - 2;
  register long x8 __asm__("x8") = SYS_clone;
  register long x0 __asm__("x0") = (long)flags;
  register long x1 __asm__("x1") = (long)top;
  register long x2 __asm__("x2") = (long)pidfd;
  register long x3 __asm__("x3") = 0;
  register long x4 __asm__("x4") = 0;
  top[0] = (void *)entry;
  top[1] = argument;
  __asm__ volatile(
      "svc 0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x30, xzr\n\t"
      "ldp x1, x0, [sp], #16\n\t"
      "blr x1\n\t"
      "brk #1\n"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
      : "memory", "cc");
  return x0;
}

static inline long raw_clone3(struct clone3_arguments *arguments, void *stack_bottom, void *stack_top,
                              void (*entry)(void *), void *argument) {
  void **top = (void **)stack_top - 2;
  top[0] = (void *)entry;
  top[1] = argument;
  arguments->stack = (uint64_t)(uintptr_t)stack_bottom;
  arguments->stack_size = (uint64_t)((char *)top - (char *)stack_bottom);
  register long x8 __asm__("x8") = SYS_clone3;
  register long x0 __asm__("x0") = (long)arguments;
  register long x1 __asm__("x1") = sizeof *arguments;
  __asm__ volatile(
      "svc 0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x30, xzr\n\t"
      "ldp x1, x0, [sp], #16\n\t"
      "blr x1\n\t"
      "brk #1\n"
      "1:"
      : "+r"(x0), "+r"(x1)
      : "r"(x8)
      : "memory", "cc");
  return x0;
}

#else
#error "libhawser knows x86_64 and aarch64"
#endif

#define RAW0(number) raw5(number, 0, 0, 0, 0, 0)
#define RAW1(number, a) raw5(number, (long)(a), 0, 0, 0, 0)
#define RAW2(number, a, b) raw5(number, (long)(a), (long)(b), 0, 0, 0)
#define RAW3(number, a, b, c) raw5(number, (long)(a), (long)(b), (long)(c), 0, 0)
#define RAW4(number, a, b, c, d) raw5(number, (long)(a), (long)(b), (long)(c), (long)(d), 0)
#define RAW5(number, a, b, c, d, e) raw5(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

#endif
