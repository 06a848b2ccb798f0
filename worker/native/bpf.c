/*
 * bpf(2) as it is: a command and its attributes, in which addresses of buffers are filled in here because JavaScript does
 * not know them. What the attributes mean is written in worker/bpf/bpf.ts.
 */
#include "bpf.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Longer than what any kernel knows; it insists that what it does not know is zero. */
#define MAX_ATTRIBUTES 512

/* bpf(command, attributes: Uint8Array, buffers: [offset, Uint8Array, offset, Uint8Array ...]) -> result or -errno */
static napi_value bpf_call(napi_env env, napi_callback_info info) {
  size_t given = 3;
  napi_value arguments[3], element, result;
  uint32_t command, count = 0, offset;
  uint8_t *attributes, *buffer;
  size_t size, length;
  uint8_t copy[MAX_ATTRIBUTES] __attribute__((aligned(8)));

  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  if (given != 3 || napi_get_value_uint32(env, arguments[0], &command) != napi_ok ||
      napi_get_typedarray_info(env, arguments[1], NULL, &size, (void **)&attributes, NULL, NULL) != napi_ok ||
      napi_get_array_length(env, arguments[2], &count) != napi_ok || size > sizeof copy)
    return napi_throw_type_error(env, NULL, "bpf(command, attributes, buffers)"), NULL;

  memcpy(copy, attributes, size);
  for (uint32_t i = 0; i + 1 < count; i += 2) {
    if (napi_get_element(env, arguments[2], i, &element) != napi_ok ||
        napi_get_value_uint32(env, element, &offset) != napi_ok || offset > size || size - offset < sizeof(uint64_t) ||
        napi_get_element(env, arguments[2], i + 1, &element) != napi_ok ||
        napi_get_typedarray_info(env, element, NULL, &length, (void **)&buffer, NULL, NULL) != napi_ok)
      return napi_throw_type_error(env, NULL, "bpf: a buffer does not fit into the attributes"), NULL;
    uint64_t address = (uint64_t)(uintptr_t)buffer;
    memcpy(copy + offset, &address, sizeof address);
  }

  long done = syscall(SYS_bpf, command, copy, size);
  int64_t answer = done < 0 ? -(int64_t)errno : done;
  memcpy(attributes, copy, size);
  /* No address of ours is told. */
  for (uint32_t i = 0; i + 1 < count; i += 2) {
    napi_get_element(env, arguments[2], i, &element);
    napi_get_value_uint32(env, element, &offset);
    memset(attributes + offset, 0, sizeof(uint64_t));
  }
  napi_create_int64(env, answer, &result);
  return result;
}

napi_status bpf_exports(napi_env env, napi_value exports) {
  napi_value function;
  napi_status status = napi_create_function(env, "bpf", NAPI_AUTO_LENGTH, bpf_call, NULL, &function);
  return status == napi_ok ? napi_set_named_property(env, exports, "bpf", function) : status;
}
