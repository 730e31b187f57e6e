// the handler

// who may do what
export {
  type Access,
  type AccessAction,
  type Authorizer,
  allowAll,
  type Grant,
} from './authorizer.ts'
export type { CorsOrigins } from './cors.ts'
export { type FetchHandler, toFetchHandler } from './fetch-handler.ts'
export { type FileReplyOptions, fileReply, type ServedFile } from './file-reply.ts'
export { createHandler, type Handler, type HandlerOptions } from './handler.ts'
// its mouths
export { type NodeListener, toNodeListener } from './node-listener.ts'
export { emptyReply, errorReply, jsonReply, type Reply } from './reply.ts'
export type { HandlerRequest } from './request-context.ts'
// what it answers with
export { statusOf } from './status.ts'
export type { FileJson, TorrentJson } from './torrent-json.ts'
