/*
 * Reads a BPF ring buffer in a thread of its own and writes what lies in it as blocks of pcapng. The program that fills it is
 * written in worker/sources/ebpf.ts; what it puts there for each packet:
 *
 *   time(8, CLOCK_MONOTONIC) cgroup(8) length(4) captured(4) outbound(4) unused(4) bytes(captured) ...
 *
 * Each cgroup becomes an interface. Where no chunk is free packets stay in the ring buffer, which the kernel fills no further
 * than it goes.
 */
#include "ring-buffer.h"

#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "chunk.h"
#include "exports.h"
#include "twice.h"

/* Record of the ring: length and flags (4) page offset (4) data, rounded up to 8. */
#define RECORD_HEAD 8
/* The thread looks so often while packets come, and is woken only when the ring is filling up... */
#define POLL_MS 10
/* ...at this part of it. */
#define WAKE_PART 8
/* After so many looks in vain it sleeps until the next packet comes. */
#define IDLE_POLLS 10
#define IDLE_MS 1000
/* What a program that still ran when it was detached needs to finish. */
#define SETTLE_MS 20
/* Between two readings of the clocks. */
#define CLOCK_RECORDS 4096
/* One container each; beyond them packets go to the interface that stands for all others. */
#define MAX_CGROUPS 65536
/* opt_endofopt included. */
#define FLAGS_OPTION 12

struct record {
  uint64_t time, cgroup;
  uint32_t length, captured, outbound, unused;
  uint8_t bytes[];
};

/* The value of the map `state`, shared with the program. */
struct state {
  /* The ring buffer is full. */
  _Atomic uint32_t full;
  /* 0: the thread is awake. Otherwise it wants to be woken when so many bytes lie in the ring. */
  _Atomic uint32_t wake_at;
  uint64_t freezes;
};

/* What JavaScript calls an interface. */
struct cgroup {
  uint64_t id, passed, duplicates;
  /* As it was when its first packet came: it may be gone soon. NULL: `why`, an error number below 0. */
  char *path;
  int why;
};

struct ring_buffer {
  pthread_t thread;
  struct chunk_writer writer;
  uint32_t tag;
  int epoll, stopping;
  size_t bytes, page;
  struct state *state;
  _Atomic unsigned long *consumer, *producer;
  const uint8_t *data;
  /* What CLOCK_REALTIME is ahead of CLOCK_MONOTONIC. */
  uint64_t offset;
  struct twice *twice;
  int niceness, mount;
  bool joined;
  /* JavaScript wants nothing any more. */
  atomic_bool abandoned;
  /* Of the cgroups, which only the thread changes. */
  pthread_mutex_t lock;
  struct cgroup *cgroups;
  uint32_t count, room;
  /* Number + 1 by hash of the id; 0: empty. Twice as many as there is room for cgroups. */
  uint32_t *slots, mask;
  napi_ref memory;
};

static const napi_type_tag READER_TAG = {0x6f6f6b6c696e6510, 0x72696e6762756666};

static uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Of three readings the one that took least: in between, the thread may have lost the processor. */
static void read_clocks(struct ring_buffer *reader) {
  uint64_t best = UINT64_MAX;
  for (int i = 0; i < 3; i++) {
    uint64_t before = clock_ns(CLOCK_MONOTONIC);
    uint64_t real = clock_ns(CLOCK_REALTIME);
    uint64_t took = clock_ns(CLOCK_MONOTONIC) - before;
    if (took >= best) continue;
    best = took;
    reader->offset = real - before - took / 2;
  }
}

static uint32_t slot_of(const struct ring_buffer *reader, uint64_t id) {
  uint32_t slot = (uint32_t)((id * 0x9e3779b97f4a7c15u) >> 32) & reader->mask;
  while (reader->slots[slot] != 0 && reader->cgroups[reader->slots[slot] - 1].id != id) slot = (slot + 1) & reader->mask;
  return slot;
}

static bool grow(struct ring_buffer *reader) {
  uint32_t room = reader->room * 2;
  struct cgroup *cgroups = realloc(reader->cgroups, room * sizeof *cgroups);
  if (cgroups == NULL) return false;
  reader->cgroups = cgroups;
  uint32_t *slots = calloc(2 * (size_t)room, sizeof *slots);
  if (slots == NULL) return false;
  free(reader->slots);
  reader->slots = slots;
  reader->mask = 2 * room - 1;
  reader->room = room;
  for (uint32_t i = 0; i < reader->count; i++) slots[slot_of(reader, cgroups[i].id)] = i + 1;
  return true;
}

/* 0, the number of cgroup 0, where no more can be told apart. */
static uint32_t number_of(struct ring_buffer *reader, uint64_t id) {
  uint32_t slot = slot_of(reader, id);
  if (reader->slots[slot] != 0) return reader->slots[slot] - 1;
  if (reader->count == MAX_CGROUPS) return 0;
  char path[PATH_MAX];
  struct cgroup met = {.id = id, .why = cgroup_path(reader->mount, id, path, sizeof path)};
  if (met.why == 0) met.path = strdup(path);
  pthread_mutex_lock(&reader->lock);
  uint32_t number = 0;
  if (reader->count < reader->room || grow(reader)) {
    number = reader->count++;
    reader->cgroups[number] = met;
    reader->slots[slot_of(reader, id)] = number + 1;
  } else free(met.path);
  pthread_mutex_unlock(&reader->lock);
  return number;
}

static bool is_duplicate(const struct ring_buffer *reader, const struct record *record) {
  if (reader->twice == NULL || record->captured == 0) return false;
  uint16_t protocol = record->bytes[0] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP;
  return twice_seen(reader->twice, record->bytes, record->captured, record->length, protocol, record->outbound,
                    record->time);
}

/* false: no chunk is free, the packet stays where it is. */
static bool pass_on(struct ring_buffer *reader, const struct record *record) {
  uint32_t number = number_of(reader, record->cgroup);
  struct cgroup *cgroup = &reader->cgroups[number];
  if (is_duplicate(reader, record)) {
    __atomic_fetch_add(&cgroup->duplicates, 1, __ATOMIC_RELAXED);
    return true;
  }
  /* epb_flags(2) length(2) 1: inbound, 2: outbound; opt_endofopt(4) */
  uint32_t options[FLAGS_OPTION / 4] = {2 | 4 << 16, record->outbound ? 2 : 1, 0};
  uint32_t captured = record->captured;
  uint8_t *to = chunk_packet_with_options(&reader->writer, number, record->time + reader->offset, &captured,
                                          record->length, (const uint8_t *)options, sizeof options);
  if (to == NULL) return false;
  memcpy(to, record->bytes, captured);
  __atomic_fetch_add(&cgroup->passed, 1, __ATOMIC_RELAXED);
  return true;
}

enum drained { EMPTY, MORE, NO_CHUNK };

/* Takes what is there, up to CLOCK_RECORDS. */
static enum drained drain(struct ring_buffer *reader, uint32_t *taken) {
  unsigned long at = atomic_load_explicit(reader->consumer, memory_order_relaxed);
  *taken = 0;
  read_clocks(reader);
  while (at < atomic_load_explicit(reader->producer, memory_order_acquire)) {
    if (*taken == CLOCK_RECORDS) return MORE;
    const uint8_t *head = reader->data + (at & (reader->bytes - 1));
    uint32_t length = atomic_load_explicit((const _Atomic uint32_t *)head, memory_order_acquire);
    if (length & BPF_RINGBUF_BUSY_BIT) break;
    uint32_t size = length & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
    if (!(length & BPF_RINGBUF_DISCARD_BIT) && !pass_on(reader, (const struct record *)(head + RECORD_HEAD)))
      return NO_CHUNK;
    at += (RECORD_HEAD + size + 7) & ~7ul;
    atomic_store_explicit(reader->consumer, at, memory_order_release);
    (*taken)++;
  }
  return EMPTY;
}

/* Sleeps until it is time to look again, or the stop is asked for. true: it is. */
static bool rest(struct ring_buffer *reader, bool idle) {
  struct epoll_event event;
  int due = chunk_flush_due(&reader->writer);
  int wait = idle ? IDLE_MS : POLL_MS;
  if (due >= 0 && due < wait) wait = due;
  atomic_store(&reader->state->wake_at, idle ? 1 : (uint32_t)(reader->bytes / WAKE_PART));
  /* What came before the wish could be seen is not told. */
  if (idle && atomic_load(reader->producer) != atomic_load(reader->consumer)) wait = 0;
  int ready = epoll_wait(reader->epoll, &event, 1, wait);
  atomic_store(&reader->state->wake_at, 0);
  return ready > 0 && event.data.fd == reader->stopping;
}

static bool is_wanted(const struct ring_buffer *reader) {
  return !atomic_load(&reader->abandoned) && !chunk_closed(reader->writer.queue);
}

static void *run(void *given) {
  struct ring_buffer *reader = given;
  uint32_t taken, vain = 0;
  bool stop = false;
  /* Of this thread alone, which is how Linux has it. Without the privilege it runs as the others do. */
  if (reader->niceness != 0) setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), reader->niceness);
  pthread_setname_np(pthread_self(), "hookline-ebpf");
  while (!stop && is_wanted(reader)) {
    enum drained drained = drain(reader, &taken);
    if (drained == EMPTY) atomic_store(&reader->state->full, 0);
    if (drained == NO_CHUNK) chunk_wait(reader->writer.queue, POLL_MS);
    if (drained != EMPTY) {
      struct epoll_event event;
      stop = epoll_wait(reader->epoll, &event, 1, 0) > 0 && event.data.fd == reader->stopping;
      continue;
    }
    vain = taken > 0 ? 0 : vain + 1;
    stop = rest(reader, vain > IDLE_POLLS);
  }
  uint64_t until = clock_ns(CLOCK_MONOTONIC) + SETTLE_MS * 1000000u;
  while (is_wanted(reader)) {
    enum drained drained = drain(reader, &taken);
    if (drained == NO_CHUNK) chunk_wait(reader->writer.queue, POLL_MS);
    else if (drained == EMPTY && taken == 0) {
      if (clock_ns(CLOCK_MONOTONIC) > until) break;
      usleep(1000);
    }
  }
  chunk_writer_end(&reader->writer, reader->tag, 0);
  return NULL;
}

static void close_all(struct ring_buffer *reader) {
  if (reader->state != NULL) munmap(reader->state, reader->page);
  if (reader->consumer != NULL) munmap((void *)reader->consumer, reader->page);
  if (reader->producer != NULL) munmap((void *)reader->producer, reader->page + 2 * reader->bytes);
  if (reader->epoll >= 0) close(reader->epoll);
  if (reader->stopping >= 0) close(reader->stopping);
  twice_close(reader->twice);
  reader->state = NULL;
  reader->consumer = reader->producer = NULL;
  reader->epoll = reader->stopping = -1;
  reader->twice = NULL;
}

static void release(struct ring_buffer *reader) {
  close_all(reader);
  pthread_mutex_destroy(&reader->lock);
  for (uint32_t i = 0; i < reader->count; i++) free(reader->cgroups[i].path);
  free(reader->cgroups);
  free(reader->slots);
  free(reader);
}

static void *map_or_null(int descriptor, size_t length, int protection, off_t offset) {
  void *mapped = mmap(NULL, length, protection, MAP_SHARED, descriptor, offset);
  return mapped == MAP_FAILED ? NULL : mapped;
}

static bool watch(const struct ring_buffer *reader, int descriptor, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = descriptor};
  return epoll_ctl(reader->epoll, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

struct settings {
  int64_t ring, bytes, state, mount, windowMs, niceness, tag;
};

static bool prepare(struct ring_buffer *reader, const struct settings *settings) {
  reader->room = 64;
  reader->cgroups = calloc(reader->room, sizeof *reader->cgroups);
  reader->slots = calloc(2 * reader->room, sizeof *reader->slots);
  reader->mask = 2 * reader->room - 1;
  reader->epoll = epoll_create1(EPOLL_CLOEXEC);
  reader->stopping = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (reader->cgroups == NULL || reader->slots == NULL || reader->epoll < 0 || reader->stopping < 0) return false;
  number_of(reader, 0);
  int ring = (int)settings->ring;
  reader->state = map_or_null((int)settings->state, reader->page, PROT_READ | PROT_WRITE, 0);
  reader->consumer = map_or_null(ring, reader->page, PROT_READ | PROT_WRITE, 0);
  reader->producer = map_or_null(ring, reader->page + 2 * reader->bytes, PROT_READ, (off_t)reader->page);
  if (reader->state == NULL || reader->consumer == NULL || reader->producer == NULL) return false;
  reader->data = (const uint8_t *)reader->producer + reader->page;
  if (settings->windowMs > 0 && (reader->twice = twice_open((uint64_t)settings->windowMs * 1000000)) == NULL)
    return false;
  return watch(reader, ring, EPOLLIN | EPOLLET) && watch(reader, reader->stopping, EPOLLIN);
}

static struct ring_buffer *reader_of(napi_env env, napi_value external) {
  void *reader = NULL;
  bool ours = false;
  if (napi_check_object_type_tag(env, external, &READER_TAG, &ours) != napi_ok || !ours) return NULL;
  return napi_get_value_external(env, external, &reader) == napi_ok ? reader : NULL;
}

static void ask_to_stop(const struct ring_buffer *reader) {
  uint64_t one = 1;
  ssize_t written = write(reader->stopping, &one, sizeof one);
  (void)written;
}

/* Memory of the queue goes with the environment: the thread may not write there any more. */
static void leave(void *argument) {
  struct ring_buffer *reader = argument;
  if (reader->joined) return;
  atomic_store(&reader->abandoned, true);
  ask_to_stop(reader);
  pthread_join(reader->thread, NULL);
  reader->joined = true;
  close_all(reader);
}

static void forget(napi_env env, void *data, void *hint) {
  struct ring_buffer *reader = data;
  (void)hint;
  napi_remove_env_cleanup_hook(env, leave, reader);
  leave(reader);
  if (reader->memory != NULL) napi_delete_reference(env, reader->memory);
  release(reader);
}

/*
 * openRingBuffer(queue, settings) -> reader or -errno. Settings: ring and state (descriptors of maps), mount (descriptor of
 * the root of cgroupfs, which stays open), bytes (of the ring), windowMs (of packets seen twice, 0: each is wanted), niceness (of its thread), tag (for `receive`).
 */
static napi_value open_ring_buffer(napi_env env, napi_callback_info info) {
  size_t given = 2;
  napi_value arguments[2], external;
  struct settings settings;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  struct chunk_queue *queue = given == 2 ? chunk_queue_of(env, arguments[0]) : NULL;
  if (queue == NULL || !number_member(env, arguments[1], "ring", &settings.ring) ||
      !number_member(env, arguments[1], "bytes", &settings.bytes) ||
      !number_member(env, arguments[1], "state", &settings.state) ||
      !number_member(env, arguments[1], "mount", &settings.mount) ||
      !number_member(env, arguments[1], "windowMs", &settings.windowMs) ||
      !number_member(env, arguments[1], "niceness", &settings.niceness) ||
      !number_member(env, arguments[1], "tag", &settings.tag))
    return wrong_arguments(env, "openRingBuffer(queue, settings)");
  struct ring_buffer *reader = calloc(1, sizeof *reader);
  if (reader == NULL) return number_value(env, -ENOMEM);
  reader->bytes = (size_t)settings.bytes;
  reader->page = (size_t)sysconf(_SC_PAGESIZE);
  reader->niceness = (int)settings.niceness;
  reader->mount = (int)settings.mount;
  reader->tag = (uint32_t)settings.tag;
  pthread_mutex_init(&reader->lock, NULL);
  if (!prepare(reader, &settings)) {
    int why = errno;
    release(reader);
    return number_value(env, -why);
  }
  chunk_writer_begin(&reader->writer, queue);
  int why = pthread_create(&reader->thread, NULL, run, reader);
  if (why != 0) {
    chunk_writer_end(&reader->writer, reader->tag, -why);
    release(reader);
    return number_value(env, -why);
  }
  napi_create_reference(env, arguments[0], 1, &reader->memory);
  napi_add_env_cleanup_hook(env, leave, reader);
  napi_create_external(env, reader, forget, NULL, &external);
  napi_type_tag_object(env, external, &READER_TAG);
  return external;
}

/* stopRingBuffer(reader): takes what is there, then ends its writer. */
static napi_value stop_ring_buffer(napi_env env, napi_callback_info info) {
  size_t given = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &given, &argument, NULL, NULL);
  struct ring_buffer *reader = given == 1 ? reader_of(env, argument) : NULL;
  if (reader == NULL) return wrong_arguments(env, "stopRingBuffer(reader)");
  if (!reader->joined) ask_to_stop(reader);
  return NULL;
}

/* closeRingBuffer(reader): at once, whatever there still is. Its cgroups can be asked for as before. */
static napi_value close_ring_buffer(napi_env env, napi_callback_info info) {
  size_t given = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &given, &argument, NULL, NULL);
  struct ring_buffer *reader = given == 1 ? reader_of(env, argument) : NULL;
  if (reader == NULL) return wrong_arguments(env, "closeRingBuffer(reader)");
  leave(reader);
  return NULL;
}

/*
 * ringBufferCgroups(reader, first, rows: BigUint64Array) -> how many there are. Fills rows of id, packets passed on and
 * duplicates, beginning with that number.
 */
static napi_value ring_buffer_cgroups(napi_env env, napi_callback_info info) {
  size_t given = 3, length;
  napi_value arguments[3];
  uint32_t first;
  uint64_t *rows;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  struct ring_buffer *reader = given == 3 ? reader_of(env, arguments[0]) : NULL;
  if (reader == NULL || napi_get_value_uint32(env, arguments[1], &first) != napi_ok ||
      !bytes_of(env, arguments[2], (uint8_t **)&rows, &length))
    return wrong_arguments(env, "ringBufferCgroups(reader, first, rows)");
  pthread_mutex_lock(&reader->lock);
  uint32_t count = reader->count;
  for (uint32_t i = first; i < count && 3 * (size_t)(i - first + 1) <= length; i++, rows += 3) {
    rows[0] = reader->cgroups[i].id;
    rows[1] = __atomic_load_n(&reader->cgroups[i].passed, __ATOMIC_RELAXED);
    rows[2] = __atomic_load_n(&reader->cgroups[i].duplicates, __ATOMIC_RELAXED);
  }
  pthread_mutex_unlock(&reader->lock);
  return number_value(env, count);
}

/* ringBufferPath(reader, number) -> path of that cgroup or -errno, as `cgroupPath` would have said then */
static napi_value ring_buffer_path(napi_env env, napi_callback_info info) {
  size_t given = 2;
  napi_value arguments[2], text = NULL;
  uint32_t number;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  struct ring_buffer *reader = given == 2 ? reader_of(env, arguments[0]) : NULL;
  if (reader == NULL || napi_get_value_uint32(env, arguments[1], &number) != napi_ok)
    return wrong_arguments(env, "ringBufferPath(reader, number)");
  pthread_mutex_lock(&reader->lock);
  int why = -ESTALE;
  if (number < reader->count && reader->cgroups[number].path == NULL) why = reader->cgroups[number].why;
  else if (number < reader->count)
    napi_create_string_utf8(env, reader->cgroups[number].path, NAPI_AUTO_LENGTH, &text);
  pthread_mutex_unlock(&reader->lock);
  return text != NULL ? text : number_value(env, why);
}

napi_status ring_buffer_exports(napi_env env, napi_value exports) {
  static const struct exported all[] = {{"openRingBuffer", open_ring_buffer},
                                        {"stopRingBuffer", stop_ring_buffer},
                                        {"closeRingBuffer", close_ring_buffer},
                                        {"ringBufferCgroups", ring_buffer_cgroups},
                                        {"ringBufferPath", ring_buffer_path}};
  return export_all(env, exports, all, sizeof all / sizeof *all);
}
