#include "twice.h"

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* 8 MB: at 200 000 packets a second a window of 200 ms holds 40 000 of these 262 144. */
#define SETS 65536
#define WAYS 4
/* Threads seldom want the same set: they wait for each other in one of so many places. */
#define LOCKS 64
/* Bytes that are compared: headers with their sequence numbers and times, and the beginning of what they carry. */
#define COMPARED 192
#define LANES 4

struct sight {
  uint64_t hash, ns;
  uint32_t place;
};

struct twice {
  uint64_t window;
  pthread_mutex_t locks[LOCKS];
  struct sight sights[SETS][WAYS];
};

struct twice *twice_open(uint64_t window_ns) {
  struct twice *twice = calloc(1, sizeof *twice);
  if (twice == NULL) return NULL;
  twice->window = window_ns;
  for (int i = 0; i < LOCKS; i++) pthread_mutex_init(&twice->locks[i], NULL);
  return twice;
}

void twice_close(struct twice *twice) {
  if (twice == NULL) return;
  for (int i = 0; i < LOCKS; i++) pthread_mutex_destroy(&twice->locks[i]);
  free(twice);
}

/* Two bytes at `at` are as if they were zero. */
static void blank(uint8_t *bytes, size_t count, size_t at, size_t width) {
  if (at + width <= count) memset(bytes + at, 0, width);
}

static void blank_checksum(uint8_t *bytes, size_t count, uint8_t protocol, size_t at) {
  if (protocol == IPPROTO_TCP) blank(bytes, count, at + 16, 2);
  else if (protocol == IPPROTO_UDP) blank(bytes, count, at + 6, 2);
}

static uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

static uint64_t hash_of(const uint8_t *packet, size_t captured, uint32_t length, uint16_t protocol) {
  uint8_t bytes[COMPARED] = {0};
  /* A short frame is filled up on the wire, and was not before it got there. */
  if (protocol == ETH_P_IP && captured >= 20) {
    uint32_t total = (uint32_t)packet[2] << 8 | packet[3];
    if (total >= 20 && total < length) length = total;
    if (length < captured) captured = length;
  }
  size_t count = captured < COMPARED ? captured : COMPARED;
  memcpy(bytes, packet, count);
  if (protocol == ETH_P_IP && count >= 20) {
    /* Time to live, and the header's checksum. */
    blank(bytes, count, 8, 1);
    blank(bytes, count, 10, 2);
    int fragment = (packet[6] & 0x1f) != 0 || packet[7] != 0;
    if (!fragment) blank_checksum(bytes, count, packet[9], (size_t)(packet[0] & 15) * 4);
  } else if (protocol == ETH_P_IPV6 && count >= 40) {
    /* Hop limit. */
    blank(bytes, count, 7, 1);
    blank_checksum(bytes, count, packet[6], 40);
  }
  /* Lanes that do not wait for each other; what lies behind `count` is zero. */
  uint64_t hash[LANES] = {0x243f6a8885a308d3u ^ length, 0x13198a2e03707344u, 0xa4093822299f31d0u, 0x082efa98ec4e6c89u};
  for (size_t at = 0; at < count; at += 8 * LANES) {
    uint64_t words[LANES];
    memcpy(words, bytes + at, sizeof words);
    for (int i = 0; i < LANES; i++) hash[i] = mix(hash[i], words[i]);
  }
  uint64_t all = protocol;
  for (int i = 0; i < LANES; i++) all = mix(all, hash[i]);
  return all ^ (all >> 32);
}

static uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

bool twice_seen(struct twice *twice, const uint8_t *packet, size_t captured, uint32_t length, uint16_t protocol,
                uint32_t place, uint64_t ns) {
  uint64_t hash = hash_of(packet, captured, length, protocol);
  uint32_t set = (uint32_t)(hash % SETS);
  struct sight *sights = twice->sights[set], *oldest = sights;
  pthread_mutex_t *lock = &twice->locks[set % LOCKS];
  bool seen = false;
  pthread_mutex_lock(lock);
  for (int i = 0; i < WAYS; i++) {
    struct sight *sight = &sights[i];
    if (sight->hash == hash && distance(sight->ns, ns) <= twice->window) {
      seen = sight->place != place;
      oldest = sight;
      break;
    }
    if (sight->ns < oldest->ns) oldest = sight;
  }
  if (!seen) *oldest = (struct sight){hash, ns, place};
  pthread_mutex_unlock(lock);
  return seen;
}
