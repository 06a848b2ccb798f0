#include "interfaces.h"

#include <errno.h>
#include <linux/if_arp.h>
#include <stdlib.h>

int interfaces_open(struct interfaces *interfaces) {
  /* Zeroes of the kernel: memory is used for those that come. */
  interfaces->all = calloc(MAX_INTERFACES, sizeof *interfaces->all);
  interfaces->slots = calloc(INTERFACE_SLOTS, sizeof *interfaces->slots);
  interfaces->count = 0;
  pthread_mutex_init(&interfaces->lock, NULL);
  return interfaces->all == NULL || interfaces->slots == NULL ? -ENOMEM : 0;
}

void interfaces_close(struct interfaces *interfaces) {
  pthread_mutex_destroy(&interfaces->lock);
  free(interfaces->all);
  free(interfaces->slots);
}

/* What a packet of a raw packet socket begins with. */
static uint16_t link_type_of(uint16_t hardware) {
  switch (hardware) {
    case ARPHRD_ETHER:
    case ARPHRD_LOOPBACK:
      return LINKTYPE_ETHERNET;
    case ARPHRD_NONE:
    case ARPHRD_RAWIP:
    case ARPHRD_TUNNEL:
    case ARPHRD_TUNNEL6:
    case ARPHRD_SIT:
    case ARPHRD_IPGRE:
    case ARPHRD_IP6GRE:
      return LINKTYPE_RAW;
    default:
      return LINKTYPE_LINUX_SLL;
  }
}

int interfaces_number(struct interfaces *interfaces, int index, uint16_t hardware) {
  uint32_t slot = ((uint32_t)index * 2654435761u) % INTERFACE_SLOTS;
  int number = -1;
  pthread_mutex_lock(&interfaces->lock);
  for (;; slot = (slot + 1) % INTERFACE_SLOTS) {
    uint32_t found = interfaces->slots[slot];
    if (found == 0) break;
    if (interfaces->all[found - 1].index != index) continue;
    number = (int)found - 1;
    break;
  }
  if (number < 0 && interfaces->count < MAX_INTERFACES) {
    number = (int)interfaces->count;
    interfaces->all[number] = (struct interface){index, hardware, link_type_of(hardware), 0, 0};
    interfaces->slots[slot] = (uint32_t)number + 1;
    /* Whoever reads the count without the lock finds what it counts. */
    __atomic_store_n(&interfaces->count, interfaces->count + 1, __ATOMIC_RELEASE);
  }
  pthread_mutex_unlock(&interfaces->lock);
  return number;
}
