/*
 * Packets seen twice: on both ends of a veth, on a bridge and its ports. The same network packet (without what a hop changes
 * and what a network card fills in late) at another interface, or in another direction, within a window of time.
 */
#ifndef HOOKLINE_TWICE_H
#define HOOKLINE_TWICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct twice;

/* NULL: no memory. */
struct twice *twice_open(uint64_t window_ns);
void twice_close(struct twice *twice);

/*
 * `packet` begins with the network's header. `place` tells the interface and direction apart. Of packets with equal bytes at
 * equal places each is a first sight: that is how the other end sends again what was lost.
 */
bool twice_seen(struct twice *twice, const uint8_t *packet, size_t captured, uint32_t length, uint16_t protocol,
                uint32_t place, uint64_t ns);

#endif
