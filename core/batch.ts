/**
 * Items travel in batches, serialised once: the bytes are newline-delimited JSON, one item a line, and the same bytes
 * go to standard output, to the sandbox and to integrations. Beside them lie the places of what readers often leave out.
 */

/** Numbers in `Batch.spans` for each item. All are offsets into `Batch.bytes`. */
export const SPANS = 8
export const REQUEST_START = 0
export const REQUEST_END = 1
export const RESPONSE_START = 2
export const RESPONSE_END = 3
/** The text of a body (`request.postData.text`, `response.content.text`, …): a JSON string with its quotes, or -1 and -1. */
export const REQUEST_BODY_START = 4
export const REQUEST_BODY_END = 5
export const RESPONSE_BODY_START = 6
export const RESPONSE_BODY_END = 7

export interface Batch {
  /** UTF-8. Overwritten when the call that handed it over returns, unless that call keeps the batch. */
  bytes: Uint8Array
  /** Bytes in use. */
  length: number
  /** Items. */
  count: number
  /** Item i is the line from starts[i] to starts[i + 1], LF included; starts[count] is `length`. */
  starts: Int32Array
  /** `SPANS` numbers an item. */
  spans: Int32Array
  /** Within the call that hands the batch over: it stays as it is until `free`. */
  keep(): void
  /** Whoever kept it is done with it. */
  free(): void
}
