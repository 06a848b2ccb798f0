#include "socket.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "exports.h"

/* The kernel's messages of netlink are no longer, unless it is asked for much longer ones. */
#define MAX_DATAGRAM (1 << 17)

struct request {
  int namespace, domain, type, protocol, result;
};

/* A thread of its own: it ends, and with it its being elsewhere. A socket stays where it was made. */
static void *elsewhere(void *argument) {
  struct request *request = argument;
  if (setns(request->namespace, CLONE_NEWNET) != 0) request->result = -errno;
  else {
    request->result = socket(request->domain, request->type, request->protocol);
    if (request->result < 0) request->result = -errno;
  }
  return NULL;
}

int socket_within(int namespace, int domain, int type, int protocol) {
  struct request request = {namespace, domain, type | SOCK_CLOEXEC, protocol, -EAGAIN};
  if (namespace < 0) {
    int made = socket(domain, request.type, protocol);
    return made < 0 ? -errno : made;
  }
  pthread_t thread;
  int failed = pthread_create(&thread, NULL, elsewhere, &request);
  if (failed != 0) return -failed;
  pthread_join(thread, NULL);
  return request.result;
}

/* openSocket(namespace, domain, type, protocol) -> descriptor or -errno */
static napi_value open_socket(napi_env env, napi_callback_info info) {
  size_t given = 4;
  napi_value arguments[4];
  int32_t numbers[4];
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  for (size_t i = 0; i < 4; i++)
    if (given != 4 || napi_get_value_int32(env, arguments[i], &numbers[i]) != napi_ok)
      return wrong_arguments(env, "openSocket(namespace, domain, type, protocol)");
  return number_value(env, socket_within(numbers[0], numbers[1], numbers[2], numbers[3]));
}

/* bindSocket, sendTo: (descriptor, address: Uint8Array [, bytes: Uint8Array]) -> 0 or -errno */
static napi_value bind_socket(napi_env env, napi_callback_info info) {
  size_t given = 2, length;
  napi_value arguments[2];
  int32_t descriptor;
  uint8_t *address;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  if (given != 2 || napi_get_value_int32(env, arguments[0], &descriptor) != napi_ok ||
      !bytes_of(env, arguments[1], &address, &length))
    return wrong_arguments(env, "bindSocket(descriptor, address)");
  return number_value(env, bind(descriptor, (struct sockaddr *)address, (socklen_t)length) == 0 ? 0 : -errno);
}

/* sendSocket(descriptor, bytes) -> bytes sent or -errno */
static napi_value send_socket(napi_env env, napi_callback_info info) {
  size_t given = 2, length;
  napi_value arguments[2];
  int32_t descriptor;
  uint8_t *bytes;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  if (given != 2 || napi_get_value_int32(env, arguments[0], &descriptor) != napi_ok ||
      !bytes_of(env, arguments[1], &bytes, &length))
    return wrong_arguments(env, "sendSocket(descriptor, bytes)");
  ssize_t sent = send(descriptor, bytes, length, 0);
  return number_value(env, sent < 0 ? -errno : sent);
}

/* receiveSocket(descriptor) -> what has arrived as Uint8Array, or -errno; -EAGAIN: nothing has */
static napi_value receive_socket(napi_env env, napi_callback_info info) {
  static uint8_t datagram[MAX_DATAGRAM];
  size_t given = 1;
  napi_value argument, buffer, result;
  int32_t descriptor;
  void *bytes;
  napi_get_cb_info(env, info, &given, &argument, NULL, NULL);
  if (given != 1 || napi_get_value_int32(env, argument, &descriptor) != napi_ok)
    return wrong_arguments(env, "receiveSocket(descriptor)");
  ssize_t length = recv(descriptor, datagram, sizeof datagram, MSG_DONTWAIT);
  if (length < 0) return number_value(env, -errno);
  if (napi_create_arraybuffer(env, (size_t)length, &bytes, &buffer) != napi_ok) return NULL;
  memcpy(bytes, datagram, (size_t)length);
  napi_create_typedarray(env, napi_uint8_array, (size_t)length, buffer, 0, &result);
  return result;
}

napi_status socket_exports(napi_env env, napi_value exports) {
  static const struct exported all[] = {{"openSocket", open_socket},
                                        {"bindSocket", bind_socket},
                                        {"sendSocket", send_socket},
                                        {"receiveSocket", receive_socket}};
  return export_all(env, exports, all, sizeof all / sizeof *all);
}
