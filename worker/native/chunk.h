/*
 * Chunks: the way of packets from a thread that captures to the event loop. JavaScript gives the memory, a fixed number of
 * buffers; a writer fills one with whole blocks of pcapng, hands it over, and takes another that is free again. Where none is
 * free the writer is told so: it can leave packets where they are, or drop and count them.
 *
 *   writer (one per thread) --full, or old--> queue --threadsafe function--> receive(chunk, bytes, packets) --> free again
 */
#ifndef HOOKLINE_CHUNK_H
#define HOOKLINE_CHUNK_H

#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>

struct chunk_queue;
struct chunk;

/* Of one thread, and touched by it alone. Zeroed before `chunk_writer_begin`. */
struct chunk_writer {
  struct chunk_queue *queue;
  struct chunk *chunk;
  /* CLOCK_MONOTONIC of its first packet, ns. */
  uint64_t since;
};

napi_status chunk_exports(napi_env env, napi_value exports);

/* The queue behind what `openQueue` has given; NULL when it is none. */
struct chunk_queue *chunk_queue_of(napi_env env, napi_value external);

/* The queue stays until every writer has ended, also when JavaScript has forgotten it. */
void chunk_writer_begin(struct chunk_writer *writer, struct chunk_queue *queue);

/*
 * Room for an Enhanced Packet Block, of which everything but the packet's bytes is written: the caller copies `captured`
 * bytes to where the answer points before it calls again. `captured` is lowered when no chunk is as large. `ns` since 1970.
 * NULL: no chunk is free.
 */
uint8_t *chunk_packet(struct chunk_writer *writer, uint32_t interface, uint64_t ns, uint32_t *captured,
                      uint32_t original);

/* As above, with `options` (whole, padded, with opt_endofopt) behind the packet. */
uint8_t *chunk_packet_with_options(struct chunk_writer *writer, uint32_t interface, uint64_t ns, uint32_t *captured,
                                   uint32_t original, const uint8_t *options, uint32_t options_length);

/* Waits until a chunk is free, at most `ms`. false: none is, or the queue was closed. */
bool chunk_wait(struct chunk_queue *queue, int ms);

/* The queue was closed: nobody wants packets any more. */
bool chunk_closed(struct chunk_queue *queue);

/* Hands over what is there. */
void chunk_flush(struct chunk_writer *writer);

/*
 * Hands over what has waited for CHUNK_FLUSH_MS, but only to an event loop that has taken everything before: one that is
 * busy gets full chunks, so that the queue is bounded by bytes and not by time. Answers after how many ms to ask again;
 * -1: there is nothing.
 */
int chunk_flush_due(struct chunk_writer *writer);

/* Hands over what is there, and then tells `receive` that this writer has ended: receive(-1, tag, code). */
void chunk_writer_end(struct chunk_writer *writer, uint32_t tag, int code);

#endif
