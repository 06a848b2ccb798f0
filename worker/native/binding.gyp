{
  "targets": [
    {
      "target_name": "hookline",
      "sources": ["<!@(ls *.c)"],
      "cflags": ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-cast-function-type"],
      "defines": ["_GNU_SOURCE", "NAPI_VERSION=9"],
      "libraries": ["-lpcap"],
      "conditions": [["OS!='linux'", {"sources/": [["exclude", ".*"]]}]],
    }
  ]
}
