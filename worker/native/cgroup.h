/* Names of cgroups. */
#ifndef HOOKLINE_CGROUP_H
#define HOOKLINE_CGROUP_H

#include <node_api.h>

napi_status cgroup_exports(napi_env env, napi_value exports);

#endif
