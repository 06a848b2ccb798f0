#include "filter.h"

#include <pcap/pcap.h>
#include <string.h>

#include "exports.h"

/* A longer expression is no expression of a person. */
#define MAX_EXPRESSION (1 << 20)

/*
 * compileFilter(expression, linkType: DLT_ value, snapLength) -> the program as an array of struct bpf_insn, or what
 * libpcap does not like about the expression.
 */
static napi_value compile_filter(napi_env env, napi_callback_info info) {
  size_t given = 3, length;
  napi_value arguments[3], result = NULL;
  int32_t link_type, snap_length;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  if (given != 3 || napi_get_value_string_utf8(env, arguments[0], NULL, 0, &length) != napi_ok ||
      length > MAX_EXPRESSION || napi_get_value_int32(env, arguments[1], &link_type) != napi_ok ||
      napi_get_value_int32(env, arguments[2], &snap_length) != napi_ok)
    return wrong_arguments(env, "compileFilter(expression, linkType, snapLength)");
  char expression[length + 1];
  napi_get_value_string_utf8(env, arguments[0], expression, length + 1, &length);

  pcap_t *nobody = pcap_open_dead(link_type, snap_length);
  if (nobody == NULL) return wrong_arguments(env, "compileFilter: no memory");
  struct bpf_program program;
  if (pcap_compile(nobody, &program, expression, 1, PCAP_NETMASK_UNKNOWN) != 0)
    napi_create_string_utf8(env, pcap_geterr(nobody), NAPI_AUTO_LENGTH, &result);
  else {
    void *bytes;
    size_t size = program.bf_len * sizeof *program.bf_insns;
    napi_value buffer;
    if (napi_create_arraybuffer(env, size, &bytes, &buffer) == napi_ok) {
      memcpy(bytes, program.bf_insns, size);
      napi_create_typedarray(env, napi_uint8_array, size, buffer, 0, &result);
    }
    pcap_freecode(&program);
  }
  pcap_close(nobody);
  return result;
}

/* filterMatches(program, packet): as libpcap itself would decide. */
static napi_value filter_matches(napi_env env, napi_callback_info info) {
  size_t given = 2, program_length, packet_length;
  napi_value arguments[2], result;
  uint8_t *program, *packet;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  if (given != 2 || !bytes_of(env, arguments[0], &program, &program_length) ||
      !bytes_of(env, arguments[1], &packet, &packet_length))
    return wrong_arguments(env, "filterMatches(program, packet)");
  u_int accepted = bpf_filter((struct bpf_insn *)program, packet, (u_int)packet_length, (u_int)packet_length);
  napi_get_boolean(env, accepted != 0, &result);
  return result;
}

napi_status filter_exports(napi_env env, napi_value exports) {
  static const struct exported all[] = {{"compileFilter", compile_filter}, {"filterMatches", filter_matches}};
  return export_all(env, exports, all, sizeof all / sizeof *all);
}
