/* libpcap's compiler of filters, pcap-filter(7). */
#ifndef HOOKLINE_FILTER_H
#define HOOKLINE_FILTER_H

#include <node_api.h>

napi_status filter_exports(napi_env env, napi_value exports);

#endif
