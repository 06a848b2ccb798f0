/*
 * bpf(2) as it is: a command and its attributes, in which addresses of buffers are filled in here because JavaScript does
 * not know them. What the attributes mean is written in worker/bpf/bpf.ts.
 */
#include "bpf.h"

#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exports.h"

/* Longer than what any kernel knows; it insists that what it does not know is zero. */
#define MAX_ATTRIBUTES 512
/* libbpf gives up after five. */
#define MAX_TRIES 20

struct request {
  int namespace;
  uint32_t command;
  uint8_t *attributes;
  size_t size;
  int64_t result;
};

static void ask(struct request *request) {
  sigset_t all, before;
  /* The kernel gives up checking a program (EAGAIN) when a signal comes, which may be again and again: they wait. */
  if (request->command == BPF_PROG_LOAD) {
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
  }
  long done;
  int tries = 0;
  /* Work that the kernel has for this thread (io_uring's) is no signal and counts as one: it is done on the way back. */
  do done = syscall(SYS_bpf, request->command, request->attributes, request->size);
  while (done < 0 && errno == EAGAIN && request->command == BPF_PROG_LOAD && ++tries < MAX_TRIES);
  request->result = done < 0 ? -(int64_t)errno : done;
  if (request->command == BPF_PROG_LOAD) pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A thread of its own: it ends, and with it its being elsewhere. */
static void *ask_elsewhere(void *argument) {
  struct request *request = argument;
  if (setns(request->namespace, CLONE_NEWNET) != 0) request->result = -(int64_t)errno;
  else ask(request);
  return NULL;
}

static int64_t answer(struct request *request) {
  pthread_t thread;
  if (request->namespace < 0) ask(request);
  else {
    int failed = pthread_create(&thread, NULL, ask_elsewhere, request);
    if (failed != 0) return -failed;
    pthread_join(thread, NULL);
  }
  return request->result;
}

/*
 * bpf(command, attributes: Uint8Array, buffers: [offset, Uint8Array, offset, Uint8Array ...], namespace) -> result or -errno.
 * Indexes of interfaces are those of the network namespace behind that descriptor (-1: our own).
 */
static napi_value call_bpf(napi_env env, napi_callback_info info) {
  size_t given = 4;
  napi_value arguments[4], element;
  int32_t namespace;
  uint32_t command, count = 0, offset;
  uint8_t *attributes, *buffer;
  size_t size, length;
  uint8_t copy[MAX_ATTRIBUTES] __attribute__((aligned(8)));

  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  if (given != 4 || napi_get_value_uint32(env, arguments[0], &command) != napi_ok ||
      !bytes_of(env, arguments[1], &attributes, &size) || size > sizeof copy ||
      napi_get_array_length(env, arguments[2], &count) != napi_ok ||
      napi_get_value_int32(env, arguments[3], &namespace) != napi_ok)
    return wrong_arguments(env, "bpf(command, attributes, buffers, namespace)");

  memcpy(copy, attributes, size);
  for (uint32_t i = 0; i + 1 < count; i += 2) {
    if (napi_get_element(env, arguments[2], i, &element) != napi_ok ||
        napi_get_value_uint32(env, element, &offset) != napi_ok || offset > size || size - offset < sizeof(uint64_t) ||
        napi_get_element(env, arguments[2], i + 1, &element) != napi_ok ||
        !bytes_of(env, element, &buffer, &length))
      return wrong_arguments(env, "bpf: a buffer does not fit into the attributes");
    uint64_t address = (uint64_t)(uintptr_t)buffer;
    memcpy(copy + offset, &address, sizeof address);
  }

  struct request request = {namespace, command, copy, size, 0};
  int64_t result = answer(&request);
  memcpy(attributes, copy, size);
  /* No address of ours is told. */
  for (uint32_t i = 0; i + 1 < count; i += 2) {
    napi_get_element(env, arguments[2], i, &element);
    napi_get_value_uint32(env, element, &offset);
    memset(attributes + offset, 0, sizeof(uint64_t));
  }
  return number_value(env, result);
}

napi_status bpf_exports(napi_env env, napi_value exports) {
  static const struct exported all[] = {{"bpf", call_bpf}};
  return export_all(env, exports, all, sizeof all / sizeof *all);
}
