#include "chunk.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "exports.h"

/* How long a packet may wait for others to travel with. */
#define CHUNK_FLUSH_MS 20
/* A busy event loop is asked again so often whether it has become idle. */
#define CHUNK_RETRY_MS 5
/* type(4) length(4) interface(4) time(8) captured(4) original(4) ... length(4) */
#define BLOCK_HEAD 28
#define BLOCK_TAIL 4
#define ENHANCED_PACKET_BLOCK 6

struct chunk {
  struct chunk *next;
  uint8_t *bytes;
  uint32_t size, used, packets;
  /* Its number, or -1 for the news that a writer has ended. */
  int index;
  uint32_t tag;
  int code;
};

struct chunk_queue {
  pthread_mutex_t lock;
  pthread_cond_t freed;
  struct chunk *free, *ready, **ready_tail;
  bool announced, closed;
  /* Handed over and not yet given back. */
  atomic_uint busy;
  /* JavaScript's hold on it, and each writer's. */
  atomic_uint holds;
  napi_threadsafe_function call;
  napi_ref memory;
  uint32_t count;
  struct chunk chunks[];
};

static const napi_type_tag QUEUE_TAG = {0x6f6f6b6c696e6501, 0x6368756e6b717565};

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void release(struct chunk_queue *queue) {
  if (atomic_fetch_sub(&queue->holds, 1) != 1) return;
  while (queue->ready != NULL) {
    struct chunk *chunk = queue->ready;
    queue->ready = chunk->next;
    if (chunk->index < 0) free(chunk);
  }
  pthread_mutex_destroy(&queue->lock);
  pthread_cond_destroy(&queue->freed);
  free(queue);
}

/* Under the lock. */
static void push(struct chunk_queue *queue, struct chunk *chunk) {
  chunk->next = NULL;
  *queue->ready_tail = chunk;
  queue->ready_tail = &chunk->next;
  atomic_fetch_add(&queue->busy, 1);
  if (queue->announced || queue->closed) return;
  queue->announced = true;
  napi_call_threadsafe_function(queue->call, NULL, napi_tsfn_nonblocking);
}

/* On the event loop: hands over everything that is ready. */
static void deliver(napi_env env, napi_value receive, void *context, void *data) {
  struct chunk_queue *queue = context;
  (void)data;
  if (env == NULL) return;
  for (;;) {
    pthread_mutex_lock(&queue->lock);
    struct chunk *chunk = queue->closed ? NULL : queue->ready;
    if (chunk == NULL) {
      queue->announced = false;
      pthread_mutex_unlock(&queue->lock);
      return;
    }
    queue->ready = chunk->next;
    if (queue->ready == NULL) queue->ready_tail = &queue->ready;
    pthread_mutex_unlock(&queue->lock);

    napi_handle_scope scope;
    napi_value undefined, arguments[3];
    napi_open_handle_scope(env, &scope);
    napi_get_undefined(env, &undefined);
    napi_create_int32(env, chunk->index, &arguments[0]);
    if (chunk->index < 0) {
      napi_create_uint32(env, chunk->tag, &arguments[1]);
      napi_create_int32(env, chunk->code, &arguments[2]);
    } else {
      napi_create_uint32(env, chunk->used, &arguments[1]);
      napi_create_uint32(env, chunk->packets, &arguments[2]);
    }
    napi_status status = napi_call_function(env, undefined, receive, 3, arguments, NULL);
    napi_close_handle_scope(env, scope);

    pthread_mutex_lock(&queue->lock);
    atomic_fetch_sub(&queue->busy, 1);
    if (chunk->index < 0) free(chunk);
    else {
      chunk->used = chunk->packets = 0;
      chunk->next = queue->free;
      queue->free = chunk;
      pthread_cond_broadcast(&queue->freed);
    }
    /* It has thrown: Node ends the process, or is asked to go on with the rest by another call. */
    if (status != napi_ok && queue->ready != NULL && !queue->closed)
      napi_call_threadsafe_function(queue->call, NULL, napi_tsfn_nonblocking);
    else if (status != napi_ok) queue->announced = false;
    pthread_mutex_unlock(&queue->lock);
    if (status != napi_ok) return;
  }
}

/* Writers are told; what was not handed over is forgotten. */
static void shut(struct chunk_queue *queue) {
  pthread_mutex_lock(&queue->lock);
  bool first = !queue->closed;
  queue->closed = true;
  pthread_cond_broadcast(&queue->freed);
  pthread_mutex_unlock(&queue->lock);
  if (first) napi_release_threadsafe_function(queue->call, napi_tsfn_abort);
}

static void forget(napi_env env, void *data, void *hint) {
  struct chunk_queue *queue = data;
  (void)hint;
  shut(queue);
  if (queue->memory != NULL) napi_delete_reference(env, queue->memory);
  release(queue);
}

/* openQueue(buffers: Uint8Array[], receive) */
static napi_value open_queue(napi_env env, napi_callback_info info) {
  size_t given = 2;
  napi_value arguments[2], element, name, external;
  uint32_t count = 0;
  napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
  if (given != 2 || napi_get_array_length(env, arguments[0], &count) != napi_ok || count == 0)
    return wrong_arguments(env, "openQueue(buffers, receive)");
  struct chunk_queue *queue = calloc(1, sizeof *queue + count * sizeof(struct chunk));
  if (queue == NULL) return wrong_arguments(env, "openQueue: no memory");
  queue->count = count;
  queue->ready_tail = &queue->ready;
  atomic_store(&queue->holds, 1);
  for (uint32_t i = 0; i < count; i++) {
    struct chunk *chunk = &queue->chunks[i];
    size_t size;
    if (napi_get_element(env, arguments[0], i, &element) != napi_ok ||
        !bytes_of(env, element, &chunk->bytes, &size)) {
      free(queue);
      return wrong_arguments(env, "openQueue: a buffer is no Uint8Array");
    }
    chunk->size = (uint32_t)size;
    chunk->index = (int)i;
    chunk->next = queue->free;
    queue->free = chunk;
  }
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&queue->lock, NULL);
  pthread_cond_init(&queue->freed, &monotonic);
  pthread_condattr_destroy(&monotonic);
  napi_create_string_utf8(env, "hookline chunks", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, arguments[1], NULL, name, 0, 1, NULL, NULL, queue, deliver, &queue->call) !=
      napi_ok) {
    release(queue);
    return wrong_arguments(env, "openQueue(buffers, receive)");
  }
  napi_create_reference(env, arguments[0], 1, &queue->memory);
  napi_create_external(env, queue, forget, NULL, &external);
  napi_type_tag_object(env, external, &QUEUE_TAG);
  return external;
}

/* closeQueue(queue): nothing is received any more. */
static napi_value close_queue(napi_env env, napi_callback_info info) {
  size_t given = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &given, &argument, NULL, NULL);
  struct chunk_queue *queue = given == 1 ? chunk_queue_of(env, argument) : NULL;
  if (queue == NULL) return wrong_arguments(env, "closeQueue(queue)");
  shut(queue);
  return NULL;
}

napi_status chunk_exports(napi_env env, napi_value exports) {
  static const struct exported all[] = {{"openQueue", open_queue}, {"closeQueue", close_queue}};
  return export_all(env, exports, all, sizeof all / sizeof *all);
}

struct chunk_queue *chunk_queue_of(napi_env env, napi_value external) {
  void *queue = NULL;
  bool ours = false;
  if (napi_check_object_type_tag(env, external, &QUEUE_TAG, &ours) != napi_ok || !ours) return NULL;
  return napi_get_value_external(env, external, &queue) == napi_ok ? queue : NULL;
}

void chunk_writer_begin(struct chunk_writer *writer, struct chunk_queue *queue) {
  atomic_fetch_add(&queue->holds, 1);
  writer->queue = queue;
  writer->chunk = NULL;
}

static bool take_chunk(struct chunk_writer *writer) {
  struct chunk_queue *queue = writer->queue;
  pthread_mutex_lock(&queue->lock);
  struct chunk *chunk = queue->closed ? NULL : queue->free;
  if (chunk != NULL) queue->free = chunk->next;
  pthread_mutex_unlock(&queue->lock);
  writer->chunk = chunk;
  return chunk != NULL;
}

static inline void put32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }

uint8_t *chunk_packet_with_options(struct chunk_writer *writer, uint32_t interface, uint64_t ns, uint32_t *captured,
                                   uint32_t original, const uint8_t *options, uint32_t options_length) {
  uint32_t size = BLOCK_HEAD + ((*captured + 3u) & ~3u) + options_length + BLOCK_TAIL;
  if (writer->chunk != NULL && size > writer->chunk->size - writer->chunk->used && writer->chunk->packets > 0)
    chunk_flush(writer);
  if (writer->chunk == NULL && !take_chunk(writer)) return NULL;
  struct chunk *chunk = writer->chunk;
  if (size > chunk->size) {
    *captured = (chunk->size - BLOCK_HEAD - BLOCK_TAIL - options_length) & ~3u;
    size = BLOCK_HEAD + *captured + options_length + BLOCK_TAIL;
  }
  if (chunk->packets++ == 0) writer->since = now_ns();
  uint8_t *at = chunk->bytes + chunk->used;
  chunk->used += size;
  put32(at, ENHANCED_PACKET_BLOCK);
  put32(at + 4, size);
  put32(at + 8, interface);
  put32(at + 12, (uint32_t)(ns >> 32));
  put32(at + 16, (uint32_t)ns);
  put32(at + 20, *captured);
  put32(at + 24, original);
  /* What fills up to a multiple of four lies in front of the options, or of the length. */
  if (*captured % 4 != 0) put32(at + size - BLOCK_TAIL - options_length - 4, 0);
  if (options_length > 0) memcpy(at + size - BLOCK_TAIL - options_length, options, options_length);
  put32(at + size - BLOCK_TAIL, size);
  return at + BLOCK_HEAD;
}

uint8_t *chunk_packet(struct chunk_writer *writer, uint32_t interface, uint64_t ns, uint32_t *captured,
                      uint32_t original) {
  return chunk_packet_with_options(writer, interface, ns, captured, original, NULL, 0);
}

bool chunk_wait(struct chunk_queue *queue, int ms) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += (long)(ms % 1000) * 1000000;
  until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  pthread_mutex_lock(&queue->lock);
  while (!queue->closed && queue->free == NULL)
    if (pthread_cond_timedwait(&queue->freed, &queue->lock, &until) == ETIMEDOUT) break;
  bool free = !queue->closed && queue->free != NULL;
  pthread_mutex_unlock(&queue->lock);
  return free;
}

bool chunk_closed(struct chunk_queue *queue) {
  pthread_mutex_lock(&queue->lock);
  bool closed = queue->closed;
  pthread_mutex_unlock(&queue->lock);
  return closed;
}

void chunk_flush(struct chunk_writer *writer) {
  struct chunk *chunk = writer->chunk;
  if (chunk == NULL || chunk->packets == 0) return;
  writer->chunk = NULL;
  pthread_mutex_lock(&writer->queue->lock);
  push(writer->queue, chunk);
  pthread_mutex_unlock(&writer->queue->lock);
}

int chunk_flush_due(struct chunk_writer *writer) {
  if (writer->chunk == NULL || writer->chunk->packets == 0) return -1;
  uint64_t age = (now_ns() - writer->since) / 1000000;
  if (age < CHUNK_FLUSH_MS) return (int)(CHUNK_FLUSH_MS - age);
  if (atomic_load(&writer->queue->busy) > 0) return CHUNK_RETRY_MS;
  chunk_flush(writer);
  return -1;
}

void chunk_writer_end(struct chunk_writer *writer, uint32_t tag, int code) {
  struct chunk_queue *queue = writer->queue;
  struct chunk *chunk = writer->chunk;
  struct chunk *end = calloc(1, sizeof *end);
  writer->chunk = NULL;
  pthread_mutex_lock(&queue->lock);
  if (chunk != NULL && chunk->packets > 0) push(queue, chunk);
  else if (chunk != NULL) {
    chunk->next = queue->free;
    queue->free = chunk;
    pthread_cond_broadcast(&queue->freed);
  }
  if (end != NULL) {
    end->index = -1;
    end->tag = tag;
    end->code = code;
    if (queue->closed) free(end);
    else push(queue, end);
  }
  pthread_mutex_unlock(&queue->lock);
  release(queue);
}
