/* Packets that a program at XDP gives away. */
#ifndef HOOKLINE_XSK_H
#define HOOKLINE_XSK_H

#include <node_api.h>

napi_status xsk_exports(napi_env env, napi_value exports);

#endif
