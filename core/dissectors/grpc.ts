/**
 * gRPC: calls in HTTP/2 streams. HTTP/2 reads them (core/dissectors/http2.ts); here is how they look.
 *
 *   request  = HEADERS(:path = /service/rpc)  *( compressed(8) length(32) message(length) )  END_STREAM
 *   response = HEADERS  *( compressed(8) length(32) message(length) )  HEADERS(grpc-status grpc-message) END_STREAM
 */
import type { Face } from '../dissector.ts'
import type { Json, JsonValue } from '../item.ts'
import { splitPath } from './grpc/status.ts'

export const face: Face = {
  name: 'grpc',
  family: 'http',
  title: 'Hypertext Transfer Protocol Version 2 (gRPC)',
  abbr: 'gRPC',
  version: '2.0',
  color: '#244c5a',
  reference: 'https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md',
  ports: [80, 443, 8080, 50051],
  priority: 0,
  summarize: (request, response, event) => ({
    method: splitPath(request?.path ?? event?.path ?? '').rpc,
    summary: request?.path ?? event?.path ?? '',
    status: response?.grpcStatusName ?? (event === null ? '' : event.direction),
  }),
}

/** What a call's request has beside the fields of HTTP. */
export interface GrpcRequest {
  /** `shop.v1.Catalog` */
  service?: string
  /** `GetItem` */
  rpc?: string
  /** ms that the client is willing to wait (grpc-timeout); null: for ever. */
  timeout?: number | null
  /** How many messages were sent; absent where some may have been missed. */
  messageCount?: number
  /** The one message; null where there is none or several: those are events. See docs/protocols/grpc.md for its form. */
  message?: JsonValue
}

export interface GrpcResponse {
  grpcStatus?: number
  /** `NOT_FOUND` */
  grpcStatusName?: string
  /** Percent-decoded; empty without one. */
  grpcMessage?: string
  /** grpc-status-details-bin: a google.rpc.Status. */
  grpcDetails?: JsonValue
  messageCount?: number
  message?: JsonValue
}

/** A message of a call that sends several in this direction. */
export interface GrpcMessage {
  type: 'message'
  direction: 'request' | 'response'
  /** Number of the message in its direction, from 0. */
  index: number
  streamId: number
  path?: string
  service?: string
  rpc?: string
  compressed: boolean
  message: JsonValue
  /** The message's own bytes, after decompression. */
  content: Json
}
