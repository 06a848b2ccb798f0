/*
 * AF_PACKET with a ring of TPACKET_V3 in a thread of its own: packet(7) and Documentation/networking/packet_mmap.rst.
 *
 *   capture   what its sockets share: numbers of interfaces, the memory of packets seen twice
 *   socket    a ring that the kernel fills and a thread that empties it into chunks
 */
#ifndef HOOKLINE_AF_PACKET_H
#define HOOKLINE_AF_PACKET_H

#include <node_api.h>

napi_status af_packet_exports(napi_env env, napi_value exports);

#endif
