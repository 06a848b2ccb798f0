/*
 * AF_XDP: one socket for each queue of an interface, each with memory of its own (the umem) and a thread.
 *
 *   fill ring: frames that are free -> kernel -> rx ring: frames with packets -> blocks of pcapng -> fill ring
 *
 * What has no room, in free frames or in the rx ring, the kernel drops and counts. Packets are stamped when they are taken.
 */
#include "xsk.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "chunk.h"
#include "exports.h"
#include "socket.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef SOL_XDP
#define SOL_XDP 283
#endif
/* Of newer headers: a packet may lie in several frames. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif

/* A page: no driver takes more, and all take this. */
#define FRAME_BYTES 4096
#define COMPLETION_ENTRIES 64
/* Handed back at once. */
#define BATCH 64
/* A thread without room asks again so often, also whether it is to end. */
#define ROOM_MS 10
/* Processors that were in the middle of a packet when the program was taken away. */
#define SETTLE_MS 20

struct ring {
  _Atomic uint32_t *producer, *consumer, *flags;
  void *entries;
  uint32_t mask;
  void *mapped;
  size_t mapped_bytes;
};

struct xsk {
  struct chunk_queue *queue;
  struct chunk_writer writer;
  int descriptor, wake, promiscuous;
  uint32_t frames, id, tag;
  uint8_t *memory;
  struct ring fill, rx;
  int niceness;
  pthread_t thread;
  bool started, joined;
  /* 1: to stop when the ring is empty. 2: at once. */
  atomic_int ending;
  uint64_t taken;
  napi_ref keep;
};

static const napi_type_tag XSK_TAG = {0x6f6f6b6c696e6511, 0x78736b736f636b65};

/* ------------------------------------------------------------------------------------------- from the ring to chunks */

static uint64_t now(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static const struct xdp_desc *received(const struct xsk *from, uint32_t at) {
  return &((const struct xdp_desc *)from->rx.entries)[at & from->rx.mask];
}

static void give_back(struct xsk *from, uint32_t first, uint32_t count) {
  uint32_t at = atomic_load_explicit(from->fill.producer, memory_order_relaxed);
  for (uint32_t i = 0; i < count; i++)
    ((uint64_t *)from->fill.entries)[(at + i) & from->fill.mask] =
        received(from, first + i)->addr & ~(uint64_t)(FRAME_BYTES - 1);
  atomic_store_explicit(from->fill.producer, at + count, memory_order_release);
  atomic_store_explicit(from->rx.consumer, first + count, memory_order_release);
}

/* How many frames the packet at `first` has; 0: not all of them are here. */
static uint32_t measure(const struct xsk *from, uint32_t first, uint32_t end, uint32_t *length) {
  *length = 0;
  for (uint32_t at = first; at != end; at++) {
    *length += received(from, at)->len;
    if (!(received(from, at)->options & XDP_PKT_CONTD)) return at - first + 1;
  }
  return 0;
}

/* false: no chunk is free, the packet stays where it is. */
static bool write_packet(struct xsk *from, uint32_t first, uint32_t count, uint32_t length) {
  uint32_t captured = length;
  uint8_t *to = chunk_packet(&from->writer, from->id, now(CLOCK_REALTIME), &captured, length);
  if (to == NULL) return false;
  for (uint32_t i = 0; i < count && captured > 0; i++) {
    const struct xdp_desc *part = received(from, first + i);
    uint32_t bytes = part->len < captured ? part->len : captured;
    memcpy(to, from->memory + part->addr, bytes);
    to += bytes;
    captured -= bytes;
  }
  return true;
}

enum taken { NOTHING, SOME, NO_ROOM };

static enum taken take(struct xsk *from) {
  uint32_t at = atomic_load_explicit(from->rx.consumer, memory_order_relaxed);
  uint32_t end = atomic_load_explicit(from->rx.producer, memory_order_acquire);
  enum taken taken = NOTHING;
  for (uint32_t packets = 0; at != end && packets < BATCH; packets++) {
    uint32_t length, count = measure(from, at, end, &length);
    if (count == 0) break;
    if (!write_packet(from, at, count, length)) return NO_ROOM;
    give_back(from, at, count);
    at += count;
    __atomic_fetch_add(&from->taken, 1, __ATOMIC_RELAXED);
    taken = SOME;
  }
  /* Drivers without copies say so when they have stopped for want of frames. */
  if (taken == SOME && atomic_load_explicit(from->fill.flags, memory_order_relaxed) & XDP_RING_NEED_WAKEUP)
    recvfrom(from->descriptor, NULL, 0, MSG_DONTWAIT, NULL, NULL);
  return taken;
}

static bool is_wanted(struct xsk *from) { return atomic_load(&from->ending) < 2 && !chunk_closed(from->queue); }

/* The program has been taken away, nothing new comes in. */
static void drain(struct xsk *from) {
  uint64_t until = now(CLOCK_MONOTONIC) + SETTLE_MS * 1000000u;
  while (is_wanted(from)) {
    enum taken taken = take(from);
    if (taken == NO_ROOM) chunk_wait(from->queue, ROOM_MS);
    else if (taken == NOTHING) {
      if (now(CLOCK_MONOTONIC) > until) return;
      usleep(1000);
    }
  }
}

static void *run(void *argument) {
  struct xsk *from = argument;
  /* Of this thread alone, which is how Linux has it. Without the privilege it runs as the others do. */
  if (from->niceness != 0) setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), from->niceness);
  pthread_setname_np(pthread_self(), "hookline-xdp");
  struct pollfd wait[2] = {{from->descriptor, POLLIN, 0}, {from->wake, POLLIN, 0}};
  int code = 0;
  while (atomic_load(&from->ending) == 0 && !chunk_closed(from->queue) && code == 0) {
    enum taken taken = take(from);
    if (taken == SOME) continue;
    if (taken == NO_ROOM) {
      chunk_wait(from->queue, ROOM_MS);
      continue;
    }
    if (poll(wait, 2, chunk_flush_due(&from->writer)) < 0 && errno != EINTR) code = -errno;
    /* The interface has gone. */
    if (wait[0].revents & (POLLERR | POLLHUP | POLLNVAL)) code = -ENETDOWN;
  }
  drain(from);
  chunk_writer_end(&from->writer, from->tag, code);
  return NULL;
}

/* ------------------------------------------------------------------------------------------------------ life of a socket */

static bool map_ring(struct xsk *from, struct ring *ring, const struct xdp_ring_offset *offsets, size_t entry, off_t at) {
  ring->mapped_bytes = offsets->desc + from->frames * entry;
  void *mapped = mmap(NULL, ring->mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, from->descriptor, at);
  if (mapped == MAP_FAILED) return false;
  ring->mapped = mapped;
  ring->producer = (_Atomic uint32_t *)((uint8_t *)mapped + offsets->producer);
  ring->consumer = (_Atomic uint32_t *)((uint8_t *)mapped + offsets->consumer);
  ring->flags = (_Atomic uint32_t *)((uint8_t *)mapped + offsets->flags);
  ring->entries = (uint8_t *)mapped + offsets->desc;
  ring->mask = from->frames - 1;
  return true;
}

static bool set(const struct xsk *from, int option, const void *value, socklen_t size) {
  return setsockopt(from->descriptor, SOL_XDP, option, value, size) == 0;
}

static bool prepare(struct xsk *from) {
  size_t bytes = (size_t)from->frames * FRAME_BYTES;
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  from->memory = memory;
  struct xdp_umem_reg umem = {.addr = (uint64_t)(uintptr_t)memory, .len = bytes, .chunk_size = FRAME_BYTES};
  uint32_t completion = COMPLETION_ENTRIES;
  struct xdp_mmap_offsets offsets;
  socklen_t size = sizeof offsets;
  if (!set(from, XDP_UMEM_REG, &umem, sizeof umem) ||
      !set(from, XDP_UMEM_FILL_RING, &from->frames, sizeof from->frames) ||
      !set(from, XDP_UMEM_COMPLETION_RING, &completion, sizeof completion) ||
      !set(from, XDP_RX_RING, &from->frames, sizeof from->frames) ||
      getsockopt(from->descriptor, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size) != 0 ||
      !map_ring(from, &from->rx, &offsets.rx, sizeof(struct xdp_desc), XDP_PGOFF_RX_RING) ||
      !map_ring(from, &from->fill, &offsets.fr, sizeof(uint64_t), XDP_UMEM_PGOFF_FILL_RING))
    return false;
  for (uint32_t i = 0; i < from->frames; i++) ((uint64_t *)from->fill.entries)[i] = (uint64_t)i * FRAME_BYTES;
  atomic_store_explicit(from->fill.producer, from->frames, memory_order_release);
  return true;
}

/* Older kernels do not know of packets in several frames; drivers without copies not always. */
static bool bind_to(const struct xsk *from, uint32_t interface, uint32_t number) {
  static const uint16_t attempts[] = {XDP_USE_NEED_WAKEUP | XDP_USE_SG, XDP_USE_NEED_WAKEUP, 0};
  struct sockaddr_xdp place = {.sxdp_family = AF_XDP, .sxdp_ifindex = interface, .sxdp_queue_id = number};
  for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
    place.sxdp_flags = attempts[i];
    if (bind(from->descriptor, (struct sockaddr *)&place, sizeof place) == 0) return true;
    if (errno != EINVAL && errno != EOPNOTSUPP) return false;
  }
  return false;
}

/* An interface is promiscuous for as long as some packet socket wants it to be; this one takes no packets. */
static bool make_promiscuous(struct xsk *from, int namespace, int interface) {
  from->promiscuous = socket_within(namespace, AF_PACKET, SOCK_RAW, 0);
  if (from->promiscuous < 0) {
    errno = -from->promiscuous;
    return false;
  }
  struct packet_mreq request = {.mr_ifindex = interface, .mr_type = PACKET_MR_PROMISC};
  return setsockopt(from->promiscuous, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof request) == 0;
}

static void end(struct xsk *from, int how) {
  if (!from->started || from->joined) return;
  atomic_store(&from->ending, how);
  uint64_t one = 1;
  if (write(from->wake, &one, sizeof one) < 0) return;
}

static void close_all(struct xsk *from) {
  if (from->rx.mapped != NULL) munmap(from->rx.mapped, from->rx.mapped_bytes);
  if (from->fill.mapped != NULL) munmap(from->fill.mapped, from->fill.mapped_bytes);
  if (from->descriptor >= 0) close(from->descriptor);
  if (from->wake >= 0) close(from->wake);
  if (from->promiscuous >= 0) close(from->promiscuous);
  if (from->memory != NULL) munmap(from->memory, (size_t)from->frames * FRAME_BYTES);
  from->rx.mapped = from->fill.mapped = from->memory = NULL;
  from->descriptor = from->wake = from->promiscuous = -1;
}

/* Memory of the queue goes with the environment: no thread may write there any more. */
static void leave(void *argument) {
  struct xsk *from = argument;
  end(from, 2);
  if (from->started && !from->joined) pthread_join(from->thread, NULL);
  from->joined = true;
}

static void forget(napi_env env, void *data, void *hint) {
  struct xsk *from = data;
  (void)hint;
  napi_remove_env_cleanup_hook(env, leave, from);
  leave(from);
  close_all(from);
  if (from->keep != NULL) napi_delete_reference(env, from->keep);
  free(from);
}

/* -------------------------------------------------------------------------------------------------------------- exports */

static struct xsk *argument_of(napi_env env, napi_callback_info info, size_t expected, napi_value *arguments) {
  size_t given = expected;
  void *xsk = NULL;
  bool ours = false;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  if (given != expected || napi_check_object_type_tag(env, arguments[0], &XSK_TAG, &ours) != napi_ok || !ours)
    return NULL;
  return napi_get_value_external(env, arguments[0], &xsk) == napi_ok ? xsk : NULL;
}

/*
 * openXsk(queue, settings) -> socket or -errno. Settings: namespace (descriptor, -1: our own), interface (index), number (of
 * the interface's queue), frames (a power of two), id (of the interface in blocks), promiscuous (1 or 0), niceness (of its
 * thread), tag.
 */
static napi_value open_xsk(napi_env env, napi_callback_info info) {
  size_t given = 2;
  napi_value arguments[2], external;
  int64_t namespace, interface, number, frames, id, promiscuous, niceness, tag;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  struct chunk_queue *queue = given == 2 ? chunk_queue_of(env, arguments[0]) : NULL;
  if (queue == NULL || !number_member(env, arguments[1], "namespace", &namespace) ||
      !number_member(env, arguments[1], "interface", &interface) ||
      !number_member(env, arguments[1], "number", &number) || !number_member(env, arguments[1], "frames", &frames) ||
      !number_member(env, arguments[1], "id", &id) || !number_member(env, arguments[1], "promiscuous", &promiscuous) || !number_member(env, arguments[1], "niceness", &niceness) ||
      !number_member(env, arguments[1], "tag", &tag))
    return wrong_arguments(env, "openXsk(queue, settings)");
  struct xsk *from = calloc(1, sizeof *from);
  if (from == NULL) return number_value(env, -ENOMEM);
  from->queue = queue;
  from->promiscuous = -1;
  from->frames = (uint32_t)frames;
  from->id = (uint32_t)id;
  from->niceness = (int)niceness;
  from->tag = (uint32_t)tag;
  from->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  from->descriptor = socket_within((int)namespace, AF_XDP, SOCK_RAW, 0);
  if (from->descriptor < 0 || !prepare(from) || !bind_to(from, (uint32_t)interface, (uint32_t)number) ||
      (promiscuous != 0 && !make_promiscuous(from, (int)namespace, (int)interface))) {
    int why = from->descriptor < 0 ? from->descriptor : -errno;
    close_all(from);
    free(from);
    return number_value(env, why);
  }
  napi_create_reference(env, arguments[0], 1, &from->keep);
  napi_add_env_cleanup_hook(env, leave, from);
  napi_create_external(env, from, forget, NULL, &external);
  napi_type_tag_object(env, external, &XSK_TAG);
  return external;
}

/* countQueues(namespace, name: of the interface) -> how many packets come in by, or -errno */
static napi_value count_queues(napi_env env, napi_callback_info info) {
  size_t given = 2, length;
  napi_value arguments[2];
  int32_t namespace;
  struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
  struct ifreq request = {.ifr_data = (char *)&channels};
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  if (given != 2 || napi_get_value_int32(env, arguments[0], &namespace) != napi_ok ||
      napi_get_value_string_utf8(env, arguments[1], request.ifr_name, sizeof request.ifr_name, &length) != napi_ok)
    return wrong_arguments(env, "countQueues(namespace, name)");
  int socket = socket_within(namespace, AF_INET, SOCK_DGRAM, 0);
  if (socket < 0) return number_value(env, socket);
  int why = ioctl(socket, SIOCETHTOOL, &request) == 0 ? 0 : -errno;
  close(socket);
  return number_value(env, why < 0 ? why : (int64_t)channels.rx_count + channels.combined_count);
}

/* xskDescriptor(socket), for the map of the program that gives packets to it */
static napi_value xsk_descriptor(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  struct xsk *from = argument_of(env, info, 1, arguments);
  return from == NULL ? wrong_arguments(env, "xskDescriptor(socket)") : number_value(env, from->descriptor);
}

/* beginXsk(socket) -> 0 or -errno */
static napi_value begin_xsk(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  struct xsk *from = argument_of(env, info, 1, arguments);
  if (from == NULL || from->started) return wrong_arguments(env, "beginXsk(socket)");
  chunk_writer_begin(&from->writer, from->queue);
  int failed = pthread_create(&from->thread, NULL, run, from);
  if (failed != 0) chunk_writer_end(&from->writer, from->tag, -failed);
  from->started = failed == 0;
  return number_value(env, -failed);
}

/* readXsk(socket, into: Float64Array of packets taken, dropped, dropped for a full ring, times that no frame was free) */
static napi_value read_xsk(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  double *into;
  size_t length;
  struct xsk *from = argument_of(env, info, 2, arguments);
  if (from == NULL || !bytes_of(env, arguments[1], (uint8_t **)&into, &length) || length < 4)
    return wrong_arguments(env, "readXsk(socket, into)");
  struct xdp_statistics statistics = {0};
  socklen_t size = sizeof statistics;
  if (from->descriptor >= 0) getsockopt(from->descriptor, SOL_XDP, XDP_STATISTICS, &statistics, &size);
  into[0] = (double)__atomic_load_n(&from->taken, __ATOMIC_RELAXED);
  into[1] = (double)statistics.rx_dropped;
  into[2] = (double)statistics.rx_ring_full;
  into[3] = (double)statistics.rx_fill_ring_empty_descs;
  return NULL;
}

/* stopXsk(socket): `receive` hears its tag when its last packet has been handed over. */
static napi_value stop_xsk(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  struct xsk *from = argument_of(env, info, 1, arguments);
  if (from == NULL) return wrong_arguments(env, "stopXsk(socket)");
  end(from, 1);
  return NULL;
}

/* closeXsk(socket): at once, whatever it still has. */
static napi_value close_xsk(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  struct xsk *from = argument_of(env, info, 1, arguments);
  if (from == NULL) return wrong_arguments(env, "closeXsk(socket)");
  leave(from);
  close_all(from);
  return NULL;
}

napi_status xsk_exports(napi_env env, napi_value exports) {
  static const struct exported all[] = {{"countQueues", count_queues},
                                        {"openXsk", open_xsk},
                                        {"xskDescriptor", xsk_descriptor},
                                        {"beginXsk", begin_xsk},
                                        {"readXsk", read_xsk},
                                        {"stopXsk", stop_xsk},
                                        {"closeXsk", close_xsk}};
  return export_all(env, exports, all, sizeof all / sizeof *all);
}
