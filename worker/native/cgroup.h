/* Names of cgroups. */
#ifndef HOOKLINE_CGROUP_H
#define HOOKLINE_CGROUP_H

#include <node_api.h>
#include <stddef.h>
#include <stdint.h>

/* `mount` is the descriptor of a root of cgroupfs. 0 or -errno; -ESTALE: the cgroup has gone. */
int cgroup_path(int mount, uint64_t id, char *path, size_t size);

napi_status cgroup_exports(napi_env env, napi_value exports);

#endif
