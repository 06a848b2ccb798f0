#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "exports.h"

/* Of <linux/exportfs.h>, which is not for programs: a file handle of cgroupfs is nothing but the id. */
#define FILEID_KERNFS 0xfe

int cgroup_path(int mount, uint64_t id, char *path, size_t size) {
  uint8_t room[sizeof(struct file_handle) + sizeof id] __attribute__((aligned(8)));
  struct file_handle *handle = (struct file_handle *)room;
  handle->handle_bytes = sizeof id;
  handle->handle_type = FILEID_KERNFS;
  memcpy(handle->f_handle, &id, sizeof id);
  int folder = open_by_handle_at(mount, handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return -errno;
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
  ssize_t length = readlink(link, path, size - 1);
  int why = -errno;
  close(folder);
  if (length < 0) return why;
  path[length] = 0;
  return 0;
}

/* cgroupPath(mount: descriptor of the root of cgroupfs, id: bigint) -> path or -errno; -ESTALE: it has gone. */
static napi_value tell_path(napi_env env, napi_callback_info info) {
  size_t given = 2;
  napi_value arguments[2], text;
  int32_t mount;
  uint64_t id;
  bool lossless;
  char path[PATH_MAX];
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  if (given != 2 || napi_get_value_int32(env, arguments[0], &mount) != napi_ok ||
      napi_get_value_bigint_uint64(env, arguments[1], &id, &lossless) != napi_ok)
    return wrong_arguments(env, "cgroupPath(mount, id)");
  int failed = cgroup_path(mount, id, path, sizeof path);
  if (failed != 0) return number_value(env, failed);
  return napi_create_string_utf8(env, path, NAPI_AUTO_LENGTH, &text) == napi_ok ? text : NULL;
}

napi_status cgroup_exports(napi_env env, napi_value exports) {
  static const struct exported all[] = {{"cgroupPath", tell_path}};
  return export_all(env, exports, all, sizeof all / sizeof *all);
}
