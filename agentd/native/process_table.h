/*
 * What /proc says of processes, read with raw system calls only: shared by libhawser and by the
 * watchdog, which has no libc.
 */
#ifndef HAWSER_PROCESS_TABLE_H
#define HAWSER_PROCESS_TABLE_H

#include <errno.h>
#include <stdint.h>

/* It says nothing of what was asked for, and is no reason to leave it out. */
static inline int is_out_of_descriptors(long error) { return error == -EMFILE || error == -ENFILE; }

/* One line of /proc/PID/stat (proc_pid_stat(5)); agentd/src/processes/containment/process-record.ts reads it. */
struct process {
  int32_t pid;
  int32_t parent;
  int32_t group;
  int32_t session;
  int32_t state; /* a letter */
  int32_t threads;
  uint64_t start_ticks; /* since boot; with the pid, the process's name for ever */
  uint64_t user_ticks;
  uint64_t system_ticks;
  uint64_t rss_pages;
  char name[16];
};

/* Reads a small file of `directory` whole; returns its bytes, at most `capacity`, or -errno. */
long read_small_file(int directory, const char *name, char *buffer, long capacity);

/* Opens /proc, or gives -errno. */
long open_proc(void);

/* -ESRCH when there is no such process any more. */
long read_process(int proc, int32_t pid, struct process *process);

/* Every process that this one sees, by ascending pid: how many, -ENOBUFS beyond `capacity`, -EMFILE without a descriptor. */
long read_all_processes(int proc, struct process *out, long capacity);

/* Calls back for every number that is a name in a directory, until one call gives not 0, which is returned. */
long each_number_in(int directory, long (*visit)(void *context, int32_t number), void *context);

/* Writes "PID/NAME"; `buffer` has room for 64 bytes. */
void process_path(char *buffer, int32_t pid, const char *name);

/* Dead, though its parent has not waited for it. */
static inline int is_dead(const struct process *process) { return process->state == 'Z' || process->state == 'X'; }

/*
 * Sends a signal to the process of that record, and to no other that has its pid by now: through a
 * pidfd, after the pidfd's process was seen to be the one. -ESRCH when it is gone.
 */
long signal_process(int proc, const struct process *process, int signal);

#endif
