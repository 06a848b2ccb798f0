/* bpf(2) for JavaScript. */
#ifndef HOOKLINE_BPF_H
#define HOOKLINE_BPF_H

#include <node_api.h>

/* Adds `bpf` to the exports of the addon. */
napi_status bpf_exports(napi_env env, napi_value exports);

#endif
