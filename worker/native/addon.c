/*
 * The addon: what JavaScript cannot ask the kernel for itself. Each file exports its functions; worker/native.ts says what
 * they take and give. Nothing in here reads settings, prints, or has words for people: results are numbers, and -errno.
 */
#include <node_api.h>

#include "af-packet.h"
#include "bpf.h"
#include "cgroup.h"
#include "chunk.h"
#include "filter.h"
#include "ring-buffer.h"
#include "socket.h"
#include "xsk.h"

NAPI_MODULE_INIT() {
  static napi_status (*const files[])(napi_env, napi_value) = {
      af_packet_exports, bpf_exports,         cgroup_exports, chunk_exports,
      filter_exports,    ring_buffer_exports, socket_exports, xsk_exports,
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (files[i](env, exports) != napi_ok) return NULL;
  return exports;
}
