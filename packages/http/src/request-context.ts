import type { Client, InfoHash } from '@isthmus/core'
import { IsthmusError } from '@isthmus/core'
import type { AskedTorrents } from './asked-torrents.ts'
import type { AccessAction, Authorizer, Grant } from './authorizer.ts'
import { emptyReply, errorReply, type Reply } from './reply.ts'
import type { RequestTarget } from './request-target.ts'

/** A request, free of any server's classes. */
export interface HandlerRequest {
  readonly method: string
  /** The request target as it came, percent escapes and query included. */
  readonly target: string
  readonly headers: Headers
  /** Read at most once; leaving it early must not break the answer. */
  readonly body?: AsyncIterable<Uint8Array> | undefined
  readonly remoteAddress?: string | undefined
  /** Aborts once the client is gone. */
  readonly signal: AbortSignal
}

/** What every route works with. */
export interface RequestContext {
  readonly request: HandlerRequest
  readonly target: RequestTarget
  readonly client: Client
  readonly asked: AskedTorrents
  readonly authorize: Authorizer
  readonly firstByteTimeoutMs: number
  readonly maxRequestBytes: number
  readonly publicUrl?: string | undefined
}

/** @throws IsthmusError `ISTHMUS_ACCESS_DENIED` unless the authorizer grants it. */
export async function requireGrant(
  context: RequestContext,
  action: AccessAction,
  subject: { readonly infoHash?: InfoHash | undefined; readonly path?: string | undefined } = {},
): Promise<Grant> {
  const { method, headers, remoteAddress } = context.request
  const { query } = context.target
  const access = { action, ...subject, method, headers, query, remoteAddress }
  const grant = await context.authorize(access)
  if (typeof grant === 'object' && grant !== null) return grant
  throw new IsthmusError('ISTHMUS_ACCESS_DENIED', 'not allowed')
}

/** Answers with the route of the method; HEAD is answered by GET's, whose body no mouth sends. */
export async function byMethod(
  context: RequestContext,
  routes: ReadonlyMap<string, (context: RequestContext) => Reply | Promise<Reply>>,
): Promise<Reply> {
  const { method } = context.request
  const route = routes.get(method) ?? (method === 'HEAD' ? routes.get('GET') : undefined)
  if (route !== undefined) return route(context)
  const methods = [...routes.keys(), ...(routes.has('GET') ? ['HEAD'] : []), 'OPTIONS']
  const allow = [...new Set(methods)].join(', ')
  if (method === 'OPTIONS') return emptyReply(204, { allow })
  const error = new IsthmusError('ISTHMUS_REQUEST_METHOD', `only ${allow} are possible here`)
  return errorReply(error, { allow })
}
