/*
 * The addon: what JavaScript cannot ask the kernel for itself. Each file exports its functions; worker/native.ts says what
 * they take and give. Nothing in here reads settings, prints, or has words for people: results are numbers, and -errno.
 */
#include <node_api.h>

#include "af-packet.h"
#include "chunk.h"
#include "filter.h"
#include "socket.h"

NAPI_MODULE_INIT() {
  if (chunk_exports(env, exports) != napi_ok || filter_exports(env, exports) != napi_ok ||
      socket_exports(env, exports) != napi_ok || af_packet_exports(env, exports) != napi_ok)
    return NULL;
  return exports;
}
