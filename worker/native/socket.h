/* Sockets of other network namespaces, and netlink. */
#ifndef HOOKLINE_SOCKET_H
#define HOOKLINE_SOCKET_H

#include <node_api.h>

/* socket(2), in the network namespace behind a descriptor (-1: our own). A descriptor, or -errno. */
int socket_within(int namespace, int domain, int type, int protocol);

napi_status socket_exports(napi_env env, napi_value exports);

#endif
