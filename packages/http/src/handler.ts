import { type Client, defaultLimits, IsthmusError, isIsthmusError } from '@isthmus/core'
import { AskedTorrents } from './asked-torrents.ts'
import type { Authorizer } from './authorizer.ts'
import { allowOrigin, allowPreflight, type CorsOrigins } from './cors.ts'
import { type FirstSegment, readFirstSegment } from './first-segment.ts'
import { errorReply, type HeaderFields, type Reply } from './reply.ts'
import type { HandlerRequest, RequestContext } from './request-context.ts'
import { parseRequestTarget } from './request-target.ts'
import { files } from './routes/files.ts'
import { health } from './routes/health.ts'
import { torrents } from './routes/torrents.ts'
import { statusOf } from './status.ts'

export interface HandlerOptions {
  /** Whose torrents are served. It stays the caller's: closing the handler does not close it. */
  readonly client: Client
  /** Asked before anything is done, once per request. */
  readonly authorize: Authorizer
  /**
   * How long a first byte may take, the wait for metadata included. A request may name another time
   * with `?timeout=45s`, up to two minutes.
   *
   * @defaultValue 30_000
   */
  readonly firstByteTimeoutMs?: number | undefined
  /** Time after its last use that a torrent is removed which was added by being asked for. @defaultValue 60_000 */
  readonly dropAfterMs?: number | undefined
  /** Bytes of a request's body. @defaultValue 8_388_608 (8 MiB) */
  readonly maxRequestBytes?: number | undefined
  /** Who may read files from a page of theirs. @defaultValue nobody */
  readonly cors?: CorsOrigins | undefined
  /** Where clients reach this handler, for the URLs in its answers. @defaultValue answers name paths alone */
  readonly publicUrl?: string | URL | undefined
  /** Told of failures that are our own, not the client's or the swarm's. Must not throw. */
  readonly onError?: ((error: unknown) => void) | undefined
}

/** Answers requests of any server. */
export interface Handler extends AsyncDisposable {
  /** Never rejects: a failure is a reply too. Dispose of the reply, read or not. */
  handle(request: HandlerRequest): Promise<Reply>
  /** Lets go of its timers. Replies under way go on. */
  close(): Promise<void>
}

type Environment = Omit<RequestContext, 'request' | 'target'> & {
  readonly cors: CorsOrigins
  readonly onError: (error: unknown) => void
}

/** A handler of every route over the torrents of one client. */
export function createHandler(options: HandlerOptions): Handler {
  const {
    client,
    authorize,
    firstByteTimeoutMs = 30_000,
    dropAfterMs = 60_000,
    maxRequestBytes = defaultLimits.metainfoBytes,
    cors = [],
    publicUrl,
    onError = () => {},
  } = options
  // Node loads its fetch classes on first use, which would cost the first request some 20 ms.
  new Headers()
  const asked = new AskedTorrents(client, { dropAfterMs, onError })
  const environment: Environment = {
    ...{ client, asked, authorize, firstByteTimeoutMs, maxRequestBytes, cors, onError },
    publicUrl: publicUrl === undefined ? undefined : new URL(publicUrl).href.replace(/\/+$/, ''),
  }
  const close = async () => asked.close()
  return {
    handle: (request) => handle(environment, request),
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function handle(environment: Environment, request: HandlerRequest): Promise<Reply> {
  let first: FirstSegment
  let context: RequestContext
  try {
    const target = parseRequestTarget(request.target)
    context = { ...environment, request, target }
    first = readFirstSegment(target.segments[0] ?? '')
  } catch (error) {
    // A page that mistyped an address is told so wherever it comes from.
    return failure(environment, request, error, { 'access-control-allow-origin': '*' })
  }
  const reply = await route(context, first).catch((error: unknown) =>
    failure(environment, request, error),
  )
  if (first.kind === 'torrent' && environment.cors.length > 0) {
    allowOrigin(reply.headers, environment.cors, request.headers)
    if (request.method === 'OPTIONS') allowPreflight(reply.headers)
  }
  return reply
}

async function route(context: RequestContext, first: FirstSegment): Promise<Reply> {
  if (first.kind === 'torrent') return files(context, first.infoHash)
  if (first.word === 'healthz' && context.target.segments.length === 1) return health(context)
  if (first.word === 'api') return torrents(context)
  throw new IsthmusError('ISTHMUS_ROUTE_UNKNOWN', 'there is nothing at this path')
}

function failure(
  environment: Environment,
  request: HandlerRequest,
  error: unknown,
  headers: HeaderFields = {},
): Reply {
  const gone = request.signal.aborted
  if (!gone && (!isIsthmusError(error) || statusOf(error.code) === 500)) environment.onError(error)
  return errorReply(error, headers)
}
