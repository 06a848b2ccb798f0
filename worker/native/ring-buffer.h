/* Packets that programs at cgroups put into a BPF ring buffer. */
#ifndef HOOKLINE_RING_BUFFER_H
#define HOOKLINE_RING_BUFFER_H

#include <node_api.h>

napi_status ring_buffer_exports(napi_env env, napi_value exports);

#endif
