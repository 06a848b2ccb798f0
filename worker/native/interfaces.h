/*
 * Numbers for interfaces: from 0, in the order in which they were first met, never used twice. All threads of a capture share
 * them, and JavaScript gives some before their first packet.
 */
#ifndef HOOKLINE_INTERFACES_H
#define HOOKLINE_INTERFACES_H

#include <pthread.h>
#include <stdint.h>

/* Interfaces come and go with pods: a node that lives long meets many. */
#define MAX_INTERFACES 65536
/* Twice as many and a power of two: a table that is at most half full. */
#define INTERFACE_SLOTS (2 * MAX_INTERFACES)

#define LINKTYPE_ETHERNET 1
#define LINKTYPE_RAW 101
#define LINKTYPE_LINUX_SLL 113

struct interface {
  int index;
  uint16_t hardware, link_type;
  /* Taken out of the kernel's ring, and of these found to be seen twice. Added to by several threads. */
  uint64_t taken, duplicates;
};

struct interfaces {
  pthread_mutex_t lock;
  uint32_t count;
  struct interface *all;
  /* Number + 1 by hash of the index; 0: empty. */
  uint32_t *slots;
};

/* 0 or -ENOMEM. */
int interfaces_open(struct interfaces *interfaces);
void interfaces_close(struct interfaces *interfaces);

/* The number of the interface with that index in the kernel and ARPHRD_ type; -1: there have been too many. */
int interfaces_number(struct interfaces *interfaces, int index, uint16_t hardware);

#endif
