/**
 * Torrents over HTTP: a handler over a client of `@isthmus/core`, for any server.
 *
 * @packageDocumentation
 */

// The handler

export { createHandler, type Handler, type HandlerOptions } from './handler.ts'
export type { Reply } from './reply.ts'
export type { HandlerRequest } from './request-context.ts'

// Its mouths

export { type FetchHandler, toFetchHandler } from './fetch-handler.ts'
export { type NodeListener, toNodeListener } from './node-listener.ts'

// Who may do what

export {
  type Access,
  type AccessAction,
  type Authorizer,
  allowAll,
  type Grant,
} from './authorizer.ts'
export type { CorsOrigins } from './cors.ts'

// What it answers with

export { statusOf } from './status.ts'
export type { FileJson, TorrentJson } from './torrent-json.ts'
export { warmUp } from './warm-up.ts'
