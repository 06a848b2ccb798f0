#include "af-packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "chunk.h"
#include "exports.h"
#include "interfaces.h"
#include "socket.h"
#include "twice.h"

/* After its end a ring is read until it is empty, but not for ever: its last block comes when the kernel's timer does. */
#define DRAIN_MS 1000
#define DRAIN_STEP_MS 2
/* Processors that were in the middle of a packet when the filter was exchanged. */
#define SETTLE_MS 10
/* A thread without room asks again so often, also whether it is to end. */
#define ROOM_MS 100
/* Cache of one thread, by index of interface. */
#define KNOWN 256
#define VLAN_BYTES 4
#define MAC_BYTES 12
#define SLL_BYTES 16

struct capture {
  struct chunk_queue *queue;
  struct interfaces interfaces;
  struct twice *twice;
  /* JavaScript's hold on it, and each socket's. */
  atomic_uint holds;
};

struct known {
  int index, number;
};

struct packet_socket {
  struct capture *capture;
  struct chunk_writer writer;
  int descriptor, wake;
  uint32_t tag;
  uint8_t *ring;
  uint32_t block_size, blocks, next;
  int niceness;
  bool joined;
  pthread_t thread;
  bool started;
  /* 1: to stop when the ring is empty. 2: at once. */
  atomic_int ending;
  /* Packets taken out of the ring, seen by the statistics of another thread. */
  uint64_t taken;
  pthread_mutex_t statistics_lock;
  uint64_t packets, drops, freezes;
  struct known known[KNOWN];
  napi_ref memory;
  napi_env env;
};

static const napi_type_tag CAPTURE_TAG = {0x6f6f6b6c696e6502, 0x6361707475726500};
static const napi_type_tag SOCKET_TAG = {0x6f6f6b6c696e6503, 0x7061636b65747300};

static void release(struct capture *capture) {
  if (atomic_fetch_sub(&capture->holds, 1) != 1) return;
  interfaces_close(&capture->interfaces);
  twice_close(capture->twice);
  free(capture);
}

/* ------------------------------------------------------------------------------------------- from the ring to chunks */

static int number_of(struct packet_socket *from, const struct sockaddr_ll *link) {
  struct known *known = &from->known[(uint32_t)link->sll_ifindex % KNOWN];
  if (known->index != link->sll_ifindex) {
    known->number = interfaces_number(&from->capture->interfaces, link->sll_ifindex, link->sll_hatype);
    known->index = link->sll_ifindex;
  }
  return known->number;
}

/* NULL: the capture ends at once. */
static uint8_t *room(struct packet_socket *from, uint32_t number, uint64_t ns, uint32_t *captured, uint32_t length) {
  for (;;) {
    uint8_t *at = chunk_packet(&from->writer, number, ns, captured, length);
    if (at != NULL) return at;
    if (atomic_load(&from->ending) == 2 || chunk_closed(from->capture->queue)) return NULL;
    chunk_wait(from->capture->queue, ROOM_MS);
  }
}

static inline void put16(uint8_t *at, uint16_t value) {
  value = htons(value);
  memcpy(at, &value, sizeof value);
}

/* The kernel takes the tag of a VLAN out of the frame; here it comes back to where it was on the wire. */
static bool write_frame(struct packet_socket *from, uint32_t number, uint64_t ns, const struct tpacket3_hdr *head,
                        const uint8_t *frame) {
  uint32_t captured = head->tp_snaplen;
  if (!(head->tp_status & TP_STATUS_VLAN_VALID) || captured < MAC_BYTES) {
    uint8_t *at = room(from, number, ns, &captured, head->tp_len);
    if (at == NULL) return false;
    memcpy(at, frame, captured);
    return true;
  }
  captured += VLAN_BYTES;
  uint8_t *at = room(from, number, ns, &captured, head->tp_len + VLAN_BYTES);
  if (at == NULL) return false;
  memcpy(at, frame, MAC_BYTES);
  put16(at + MAC_BYTES, head->tp_status & TP_STATUS_VLAN_TPID_VALID ? head->hv1.tp_vlan_tpid : ETH_P_8021Q);
  put16(at + MAC_BYTES + 2, (uint16_t)head->hv1.tp_vlan_tci);
  memcpy(at + MAC_BYTES + VLAN_BYTES, frame + MAC_BYTES, captured - MAC_BYTES - VLAN_BYTES);
  return true;
}

/* LINKTYPE_LINUX_SLL: kind(2) ARPHRD(2) length of address(2) address(8) protocol(2), for link layers that nobody reads. */
static bool write_cooked(struct packet_socket *from, uint32_t number, uint64_t ns, const struct sockaddr_ll *link,
                         const uint8_t *packet, uint32_t captured, uint32_t length) {
  captured += SLL_BYTES;
  uint8_t *at = room(from, number, ns, &captured, length + SLL_BYTES);
  if (at == NULL) return false;
  put16(at, link->sll_pkttype);
  put16(at + 2, link->sll_hatype);
  put16(at + 4, link->sll_halen);
  memcpy(at + 6, link->sll_addr, 8);
  memcpy(at + 14, &link->sll_protocol, 2);
  memcpy(at + SLL_BYTES, packet, captured - SLL_BYTES);
  return true;
}

static bool take_packet(struct packet_socket *from, const struct tpacket3_hdr *head) {
  const uint8_t *start = (const uint8_t *)head;
  const struct sockaddr_ll *link =
      (const struct sockaddr_ll *)(start + TPACKET_ALIGN(sizeof(struct tpacket3_hdr)));
  uint64_t ns = (uint64_t)head->tp_sec * 1000000000u + head->tp_nsec;
  /* How much of what was captured, and of the whole, lies in front of the network's header. */
  uint32_t link_bytes = head->tp_net - head->tp_mac;
  if (link_bytes > head->tp_snaplen) link_bytes = head->tp_snaplen;
  const uint8_t *network = start + head->tp_mac + link_bytes;
  uint32_t captured = head->tp_snaplen - link_bytes, length = head->tp_len - link_bytes;

  int number = number_of(from, link);
  __atomic_store_n(&from->taken, from->taken + 1, __ATOMIC_RELAXED);
  if (number < 0) return true;
  struct interface *interface = &from->capture->interfaces.all[number];
  __atomic_fetch_add(&interface->taken, 1, __ATOMIC_RELAXED);
  if (from->capture->twice != NULL &&
      twice_seen(from->capture->twice, network, captured, length, ntohs(link->sll_protocol),
                 (uint32_t)number * 2 + (link->sll_pkttype == PACKET_OUTGOING), ns)) {
    __atomic_fetch_add(&interface->duplicates, 1, __ATOMIC_RELAXED);
    return true;
  }
  if (interface->link_type == LINKTYPE_ETHERNET) return write_frame(from, number, ns, head, start + head->tp_mac);
  if (interface->link_type == LINKTYPE_LINUX_SLL)
    return write_cooked(from, number, ns, link, network, captured, length);
  uint8_t *at = room(from, number, ns, &captured, length);
  if (at == NULL) return false;
  memcpy(at, network, captured);
  return true;
}

/* The next block, if the kernel has filled it. */
static bool take_block(struct packet_socket *from) {
  struct tpacket_block_desc *block = (struct tpacket_block_desc *)(from->ring + (size_t)from->next * from->block_size);
  struct tpacket_hdr_v1 *about = &block->hdr.bh1;
  if (!(__atomic_load_n(&about->block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) return false;
  const uint8_t *at = (const uint8_t *)block + about->offset_to_first_pkt;
  for (uint32_t i = 0; i < about->num_pkts; i++) {
    const struct tpacket3_hdr *head = (const struct tpacket3_hdr *)at;
    if (!take_packet(from, head)) break;
    at += head->tp_next_offset;
  }
  __atomic_store_n(&about->block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
  from->next = (from->next + 1) % from->blocks;
  return true;
}

/* The kernel starts from zero whenever it is asked. */
static void read_statistics(struct packet_socket *from) {
  struct tpacket_stats_v3 now = {0};
  socklen_t size = sizeof now;
  pthread_mutex_lock(&from->statistics_lock);
  if (getsockopt(from->descriptor, SOL_PACKET, PACKET_STATISTICS, &now, &size) == 0) {
    from->packets += now.tp_packets;
    from->drops += now.tp_drops;
    from->freezes += now.tp_freeze_q_cnt;
  }
  pthread_mutex_unlock(&from->statistics_lock);
}

static int refuse_all(int descriptor) {
  struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
  struct sock_fprog program = {1, &none};
  return setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0 ? 0 : -errno;
}

/* Nothing new comes in any more; what the kernel has is taken, to the last packet that it has counted. */
static void drain(struct packet_socket *from) {
  refuse_all(from->descriptor);
  poll(NULL, 0, SETTLE_MS);
  for (int waited = 0; waited < DRAIN_MS && atomic_load(&from->ending) < 2; waited += DRAIN_STEP_MS) {
    while (take_block(from) && atomic_load(&from->ending) < 2) continue;
    read_statistics(from);
    if (from->packets - from->drops <= from->taken) return;
    poll(NULL, 0, DRAIN_STEP_MS);
  }
}

static void *run(void *argument) {
  struct packet_socket *from = argument;
  /* Of this thread alone, which is how Linux has it. Without the privilege it runs as the others do. */
  if (from->niceness != 0) setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), from->niceness);
  pthread_setname_np(pthread_self(), "hookline-packet");
  struct pollfd wait[2] = {{from->descriptor, POLLIN, 0}, {from->wake, POLLIN, 0}};
  int code = 0;
  while (atomic_load(&from->ending) == 0 && code == 0) {
    while (take_block(from))
      if (atomic_load(&from->ending) != 0) break;
    wait[0].revents = 0;
    if (poll(wait, 2, chunk_flush_due(&from->writer)) < 0 && errno != EINTR) code = -errno;
    /* The interface is gone, or down; a socket for all interfaces never says that. */
    if (wait[0].revents & POLLERR) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(from->descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != ENETDOWN) code = -error;
    }
  }
  if (atomic_load(&from->ending) < 2) drain(from);
  chunk_writer_end(&from->writer, from->tag, code);
  return NULL;
}

/* ------------------------------------------------------------------------------------------------------ life of a socket */

static int set(int descriptor, int option, int value) {
  return setsockopt(descriptor, SOL_PACKET, option, &value, sizeof value) == 0 ? 0 : -errno;
}

struct settings {
  int64_t namespace, interface, blockBytes, blocks, retireMs, fanout, hardwareTimes, niceness, tag;
};

static int begin(struct packet_socket *from, const struct settings *settings) {
  int failed;
  /* Protocol 0: nothing comes in until everything is in place. */
  from->descriptor = socket_within((int)settings->namespace, AF_PACKET, SOCK_RAW, 0);
  if (from->descriptor < 0) return from->descriptor;
  from->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (from->wake < 0) return -errno;
  if ((failed = refuse_all(from->descriptor)) != 0) return failed;
  if ((failed = set(from->descriptor, PACKET_VERSION, TPACKET_V3)) != 0) return failed;
  if (settings->hardwareTimes != 0 &&
      (failed = set(from->descriptor, PACKET_TIMESTAMP, SOF_TIMESTAMPING_RAW_HARDWARE)) != 0)
    return failed;
  struct tpacket_req3 request = {
      .tp_block_size = (unsigned)settings->blockBytes,
      .tp_block_nr = (unsigned)settings->blocks,
      .tp_frame_size = (unsigned)settings->blockBytes,
      .tp_frame_nr = (unsigned)settings->blocks,
      .tp_retire_blk_tov = (unsigned)settings->retireMs,
  };
  if (setsockopt(from->descriptor, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) != 0) return -errno;
  from->block_size = request.tp_block_size;
  from->blocks = request.tp_block_nr;
  void *ring = mmap(NULL, (size_t)from->block_size * from->blocks, PROT_READ | PROT_WRITE, MAP_SHARED, from->descriptor, 0);
  if (ring == MAP_FAILED) return -errno;
  from->ring = ring;
  struct sockaddr_ll place = {
      .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)settings->interface};
  if (bind(from->descriptor, (struct sockaddr *)&place, sizeof place) != 0) return -errno;
  if (settings->fanout >= 0 && (failed = set(from->descriptor, PACKET_FANOUT, (int)settings->fanout)) != 0)
    return failed;
  return 0;
}

static void end(struct packet_socket *from, int how) {
  if (!from->started || from->joined) return;
  atomic_store(&from->ending, how);
  uint64_t one = 1;
  if (write(from->wake, &one, sizeof one) < 0) return;
}

static void join(struct packet_socket *from) {
  if (!from->started || from->joined) return;
  pthread_join(from->thread, NULL);
  from->joined = true;
}

static void close_all(struct packet_socket *from) {
  if (from->ring != NULL) munmap(from->ring, (size_t)from->block_size * from->blocks);
  if (from->descriptor >= 0) close(from->descriptor);
  if (from->wake >= 0) close(from->wake);
  from->ring = NULL;
  from->descriptor = from->wake = -1;
}

/* Memory of the queue goes with the environment: no thread may write there any more. */
static void leave(void *argument) {
  struct packet_socket *from = argument;
  end(from, 2);
  join(from);
}

static void forget(napi_env env, void *data, void *hint) {
  struct packet_socket *from = data;
  (void)hint;
  napi_remove_env_cleanup_hook(env, leave, from);
  leave(from);
  close_all(from);
  if (from->memory != NULL) napi_delete_reference(env, from->memory);
  release(from->capture);
  pthread_mutex_destroy(&from->statistics_lock);
  free(from);
}

static void forget_capture(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  release(data);
}

/* -------------------------------------------------------------------------------------------------------------- exports */

static void *behind(napi_env env, napi_value external, const napi_type_tag *tag) {
  void *found = NULL;
  bool ours = false;
  if (napi_check_object_type_tag(env, external, tag, &ours) != napi_ok || !ours) return NULL;
  return napi_get_value_external(env, external, &found) == napi_ok ? found : NULL;
}

/* The thing behind the first argument, and the others as they are. */
static void *arguments_of(napi_env env, napi_callback_info info, const napi_type_tag *tag, size_t expected,
                          napi_value *arguments) {
  size_t given = expected;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  return given == expected ? behind(env, arguments[0], tag) : NULL;
}

/* openCapture(queue, windowMs: of packets seen twice, 0: each is wanted) */
static napi_value open_capture(napi_env env, napi_callback_info info) {
  size_t given = 2;
  napi_value arguments[2], external;
  uint32_t window;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  struct chunk_queue *queue = given == 2 ? chunk_queue_of(env, arguments[0]) : NULL;
  if (queue == NULL || napi_get_value_uint32(env, arguments[1], &window) != napi_ok)
    return wrong_arguments(env, "openCapture(queue, windowMs)");
  struct capture *capture = calloc(1, sizeof *capture);
  if (capture == NULL) return number_value(env, -ENOMEM);
  capture->queue = queue;
  atomic_store(&capture->holds, 1);
  int failed = interfaces_open(&capture->interfaces);
  if (window > 0) capture->twice = twice_open((uint64_t)window * 1000000);
  if (failed != 0 || (window > 0 && capture->twice == NULL)) {
    release(capture);
    return number_value(env, -ENOMEM);
  }
  napi_create_external(env, capture, forget_capture, NULL, &external);
  napi_type_tag_object(env, external, &CAPTURE_TAG);
  return external;
}

/* numberInterface(capture, index, hardware) -> its number, or -1 */
static napi_value number_interface(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  int32_t index;
  uint32_t hardware;
  struct capture *capture = arguments_of(env, info, &CAPTURE_TAG, 3, arguments);
  if (capture == NULL || napi_get_value_int32(env, arguments[1], &index) != napi_ok ||
      napi_get_value_uint32(env, arguments[2], &hardware) != napi_ok)
    return wrong_arguments(env, "numberInterface(capture, index, hardware)");
  return number_value(env, interfaces_number(&capture->interfaces, index, (uint16_t)hardware));
}

/* countInterfaces(capture) -> how many there are */
static napi_value count_interfaces(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  struct capture *capture = arguments_of(env, info, &CAPTURE_TAG, 1, arguments);
  if (capture == NULL) return wrong_arguments(env, "countInterfaces(capture)");
  return number_value(env, __atomic_load_n(&capture->interfaces.count, __ATOMIC_ACQUIRE));
}

/* readInterface(capture, number, into: Float64Array of index, ARPHRD type, LINKTYPE, taken, duplicates) */
static napi_value read_interface(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  uint32_t number;
  double *into;
  size_t length;
  struct capture *capture = arguments_of(env, info, &CAPTURE_TAG, 3, arguments);
  if (capture == NULL || napi_get_value_uint32(env, arguments[1], &number) != napi_ok ||
      !bytes_of(env, arguments[2], (uint8_t **)&into, &length) || length < 5 ||
      number >= __atomic_load_n(&capture->interfaces.count, __ATOMIC_ACQUIRE))
    return wrong_arguments(env, "readInterface(capture, number, into)");
  const struct interface *interface = &capture->interfaces.all[number];
  into[0] = interface->index;
  into[1] = interface->hardware;
  into[2] = interface->link_type;
  into[3] = (double)__atomic_load_n(&interface->taken, __ATOMIC_RELAXED);
  into[4] = (double)__atomic_load_n(&interface->duplicates, __ATOMIC_RELAXED);
  return NULL;
}

/*
 * openPacketSocket(capture, queue, settings) -> socket or -errno. It takes no packet until `beginPacketSocket`. Settings:
 * namespace (descriptor, -1: our own), interface (index, 0: all), blockBytes, blocks, retireMs, fanout (what PACKET_FANOUT
 * wants, -1: none), hardwareTimes, niceness (of its thread), tag (for `receive`).
 */
static napi_value open_packet_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[3], external;
  struct settings settings;
  struct capture *capture = arguments_of(env, info, &CAPTURE_TAG, 3, arguments);
  if (capture == NULL || chunk_queue_of(env, arguments[1]) != capture->queue ||
      !number_member(env, arguments[2], "namespace", &settings.namespace) ||
      !number_member(env, arguments[2], "interface", &settings.interface) ||
      !number_member(env, arguments[2], "blockBytes", &settings.blockBytes) ||
      !number_member(env, arguments[2], "blocks", &settings.blocks) ||
      !number_member(env, arguments[2], "retireMs", &settings.retireMs) ||
      !number_member(env, arguments[2], "fanout", &settings.fanout) ||
      !number_member(env, arguments[2], "hardwareTimes", &settings.hardwareTimes) ||
      !number_member(env, arguments[2], "niceness", &settings.niceness) ||
      !number_member(env, arguments[2], "tag", &settings.tag))
    return wrong_arguments(env, "openPacketSocket(capture, queue, settings)");
  struct packet_socket *from = calloc(1, sizeof *from);
  if (from == NULL) return number_value(env, -ENOMEM);
  from->descriptor = from->wake = -1;
  from->niceness = (int)settings.niceness;
  from->tag = (uint32_t)settings.tag;
  int failed = begin(from, &settings);
  if (failed != 0) {
    close_all(from);
    free(from);
    return number_value(env, failed);
  }
  from->capture = capture;
  atomic_fetch_add(&capture->holds, 1);
  pthread_mutex_init(&from->statistics_lock, NULL);
  napi_create_reference(env, arguments[1], 1, &from->memory);
  napi_add_env_cleanup_hook(env, leave, from);
  napi_create_external(env, from, forget, NULL, &external);
  napi_type_tag_object(env, external, &SOCKET_TAG);
  return external;
}

/* beginPacketSocket(socket, program: descriptor of a socket filter) -> 0 or -errno */
static napi_value begin_packet_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  int32_t program;
  struct packet_socket *from = arguments_of(env, info, &SOCKET_TAG, 2, arguments);
  if (from == NULL || from->started || napi_get_value_int32(env, arguments[1], &program) != napi_ok)
    return wrong_arguments(env, "beginPacketSocket(socket, program)");
  if (setsockopt(from->descriptor, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program) != 0)
    return number_value(env, -errno);
  chunk_writer_begin(&from->writer, from->capture->queue);
  int failed = pthread_create(&from->thread, NULL, run, from);
  if (failed != 0) {
    chunk_writer_end(&from->writer, from->tag, -failed);
    return number_value(env, -failed);
  }
  from->started = true;
  return number_value(env, 0);
}

/* fanoutOf(socket) -> the number of the group that it has joined, as PACKET_FANOUT wants it, or -errno */
static napi_value fanout_of(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  int fanout = 0;
  socklen_t size = sizeof fanout;
  struct packet_socket *from = arguments_of(env, info, &SOCKET_TAG, 1, arguments);
  if (from == NULL) return wrong_arguments(env, "fanoutOf(socket)");
  if (getsockopt(from->descriptor, SOL_PACKET, PACKET_FANOUT, &fanout, &size) != 0) return number_value(env, -errno);
  return number_value(env, (uint32_t)fanout);
}

/* setPromiscuous(socket, index, 1 or 0) -> 0 or -errno; ends with the socket. */
static napi_value set_promiscuous(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  int32_t index, on;
  struct packet_socket *from = arguments_of(env, info, &SOCKET_TAG, 3, arguments);
  if (from == NULL || napi_get_value_int32(env, arguments[1], &index) != napi_ok ||
      napi_get_value_int32(env, arguments[2], &on) != napi_ok)
    return wrong_arguments(env, "setPromiscuous(socket, index, on)");
  struct packet_mreq request = {.mr_ifindex = index, .mr_type = PACKET_MR_PROMISC};
  int option = on != 0 ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP;
  return number_value(env, setsockopt(from->descriptor, SOL_PACKET, option, &request, sizeof request) == 0 ? 0 : -errno);
}

/* readPacketSocket(socket, into: Float64Array of packets, drops, freezes, taken) since it was opened */
static napi_value read_packet_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  double *into;
  size_t length;
  struct packet_socket *from = arguments_of(env, info, &SOCKET_TAG, 2, arguments);
  if (from == NULL || !bytes_of(env, arguments[1], (uint8_t **)&into, &length) || length < 4)
    return wrong_arguments(env, "readPacketSocket(socket, into)");
  if (from->descriptor >= 0) read_statistics(from);
  pthread_mutex_lock(&from->statistics_lock);
  into[0] = (double)from->packets;
  into[1] = (double)from->drops;
  into[2] = (double)from->freezes;
  pthread_mutex_unlock(&from->statistics_lock);
  into[3] = (double)__atomic_load_n(&from->taken, __ATOMIC_RELAXED);
  return NULL;
}

/* stopPacketSocket(socket): `receive` hears its tag when its last packet has been handed over. */
static napi_value stop_packet_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  struct packet_socket *from = arguments_of(env, info, &SOCKET_TAG, 1, arguments);
  if (from == NULL) return wrong_arguments(env, "stopPacketSocket(socket)");
  end(from, 1);
  return NULL;
}

/* closePacketSocket(socket): at once, whatever it still has. */
static napi_value close_packet_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  struct packet_socket *from = arguments_of(env, info, &SOCKET_TAG, 1, arguments);
  if (from == NULL) return wrong_arguments(env, "closePacketSocket(socket)");
  leave(from);
  close_all(from);
  return NULL;
}

napi_status af_packet_exports(napi_env env, napi_value exports) {
  static const struct exported all[] = {{"openCapture", open_capture},
                                        {"numberInterface", number_interface},
                                        {"countInterfaces", count_interfaces},
                                        {"readInterface", read_interface},
                                        {"openPacketSocket", open_packet_socket},
                                        {"beginPacketSocket", begin_packet_socket},
                                        {"fanoutOf", fanout_of},
                                        {"setPromiscuous", set_promiscuous},
                                        {"readPacketSocket", read_packet_socket},
                                        {"stopPacketSocket", stop_packet_socket},
                                        {"closePacketSocket", close_packet_socket}};
  return export_all(env, exports, all, sizeof all / sizeof *all);
}
