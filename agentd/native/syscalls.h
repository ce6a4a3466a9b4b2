/*
 * Raw system calls for the child of a CLONE_VM launch.
 *
 * The child shares the agent's memory, and with it the thread-local `errno` of the thread that
 * launched it. libc's wrappers, syscall() among them, write errno; some take locks or signal every
 * thread (setuid). So the child uses these only. They return the kernel's value: negative is -errno.
 */
#ifndef HAWSER_SYSCALLS_H
#define HAWSER_SYSCALLS_H

#include <sys/syscall.h>

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

#else
#error "libhawser knows x86_64 and aarch64"
#endif

#define RAW0(number) raw5(number, 0, 0, 0, 0, 0)
#define RAW1(number, a) raw5(number, (long)(a), 0, 0, 0, 0)
#define RAW2(number, a, b) raw5(number, (long)(a), (long)(b), 0, 0, 0)
#define RAW3(number, a, b, c) raw5(number, (long)(a), (long)(b), (long)(c), 0, 0)
#define RAW4(number, a, b, c, d) raw5(number, (long)(a), (long)(b), (long)(c), (long)(d), 0)
#define RAW5(number, a, b, c, d, e) raw5(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#endif
