import { abortable, type InfoHash, IsthmusError } from '@isthmus/core'
import type { TorrentLease } from '../asked-torrents.ts'
import { fileReply } from '../file-reply.ts'
import { FirstByteWait, readTimeout } from '../first-byte-wait.ts'
import type { Reply } from '../reply.ts'
import { byMethod, type RequestContext, requireGrant } from '../request-context.ts'

/** `GET` and `HEAD /{infohash}/{path}`: the bytes of one file of a torrent, added by being asked for. */
export async function files(context: RequestContext, infoHash: InfoHash): Promise<Reply> {
  return byMethod(context, new Map([['GET', (c: RequestContext) => serveFile(c, infoHash)]]))
}

async function serveFile(context: RequestContext, infoHash: InfoHash): Promise<Reply> {
  const { request, target } = context
  // An escaped slash is one too: no name in a torrent has any.
  const path = target.segments.slice(1).join('/')
  const grant = await requireGrant(context, 'read', { infoHash, path })
  if (path === '') throw new IsthmusError('ISTHMUS_ROUTE_UNKNOWN', 'name a file of the torrent')
  const timeoutMs = readTimeout(target.query.get('timeout'), context.firstByteTimeoutMs)
  const wait = new FirstByteWait(timeoutMs, request.signal)
  let lease: TorrentLease | undefined
  const release = () => {
    wait[Symbol.dispose]()
    lease?.[Symbol.dispose]()
  }
  try {
    const { signal } = wait
    lease = await context.asked.lease(infoHash, { signal })
    await abortable(lease.torrent.ready({ signal }), signal)
    wait.stage = 'pieces'
    const reply = await fileReply(lease.torrent.file(path), request, {
      signal,
      public: grant.public === true,
      download: target.query.has('download'),
    })
    wait.arrived()
    return disposing(reply, release)
  } catch (error) {
    release()
    throw error
  }
}

/** The reply; disposing of it releases first, so that no read is waited for that still runs. */
function disposing(reply: Reply, release: () => void): Reply {
  const dispose = async () => {
    release()
    await reply[Symbol.asyncDispose]()
  }
  return { ...reply, [Symbol.asyncDispose]: dispose }
}
