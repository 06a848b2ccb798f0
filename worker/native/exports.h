/* What every file of the addon does with Node-API in the same way. */
#ifndef HOOKLINE_EXPORTS_H
#define HOOKLINE_EXPORTS_H

#include <node_api.h>
#include <stddef.h>
#include <stdint.h>

struct exported {
  const char *name;
  napi_callback function;
};

static inline napi_status export_all(napi_env env, napi_value exports, const struct exported *all, size_t count) {
  for (size_t i = 0; i < count; i++) {
    napi_value function;
    napi_status status = napi_create_function(env, all[i].name, NAPI_AUTO_LENGTH, all[i].function, NULL, &function);
    if (status == napi_ok) status = napi_set_named_property(env, exports, all[i].name, function);
    if (status != napi_ok) return status;
  }
  return napi_ok;
}

/* NULL after it has thrown: a mistake of the caller's code, never of a user. */
static inline napi_value wrong_arguments(napi_env env, const char *expected) {
  napi_throw_type_error(env, NULL, expected);
  return NULL;
}

static inline napi_value number_value(napi_env env, int64_t number) {
  napi_value value;
  return napi_create_int64(env, number, &value) == napi_ok ? value : NULL;
}

/* A member that is a number; false: it is missing or none. */
static inline int number_member(napi_env env, napi_value object, const char *name, int64_t *number) {
  napi_value value;
  return napi_get_named_property(env, object, name, &value) == napi_ok &&
         napi_get_value_int64(env, value, number) == napi_ok;
}

static inline int bytes_of(napi_env env, napi_value value, uint8_t **bytes, size_t *length) {
  return napi_get_typedarray_info(env, value, NULL, length, (void **)bytes, NULL, NULL) == napi_ok;
}

#endif
