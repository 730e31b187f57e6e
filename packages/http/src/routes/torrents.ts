import {
  type InfoHash,
  IsthmusError,
  type PeerAddress,
  parseInfoHash,
  parsePeerAddress,
  type Torrent,
} from '@isthmus/core'
import { emptyReply, jsonReply, type Reply } from '../reply.ts'
import { bodyType, readBody, readJsonObject } from '../request-body.ts'
import { byMethod, type RequestContext, requireGrant } from '../request-context.ts'
import { torrentJson } from '../torrent-json.ts'

/** `/api/…`: the torrents of the client, as JSON. */
export async function torrents(context: RequestContext): Promise<Reply> {
  const [, collection, hash, ...rest] = context.target.segments
  if (collection !== 'torrents') throw unknownRoute()
  if (hash === undefined) return byMethod(context, collectionMethods)
  const infoHash = parseInfoHash(hash)
  if (rest.length === 0) return byMethod(context, torrentMethods(infoHash))
  if (rest.length === 1 && rest[0] === 'peers') return byMethod(context, peerMethods(infoHash))
  throw unknownRoute()
}

const collectionMethods = new Map([
  ['GET', list],
  ['POST', add],
])

function torrentMethods(infoHash: InfoHash) {
  return new Map([
    ['GET', (context: RequestContext) => describe(context, infoHash)],
    ['DELETE', (context: RequestContext) => remove(context, infoHash)],
  ])
}

function peerMethods(infoHash: InfoHash) {
  return new Map([['POST', (context: RequestContext) => addPeers(context, infoHash)]])
}

async function list(context: RequestContext): Promise<Reply> {
  await requireGrant(context, 'list')
  return jsonReply(200, { torrents: context.client.torrents.map(torrentJson) })
}

async function describe(context: RequestContext, infoHash: InfoHash): Promise<Reply> {
  await requireGrant(context, 'list', { infoHash })
  return jsonReply(200, torrentJson(known(context, infoHash)))
}

async function remove(context: RequestContext, infoHash: InfoHash): Promise<Reply> {
  await requireGrant(context, 'remove', { infoHash })
  const torrent = known(context, infoHash)
  context.asked.forget(torrent)
  await context.client.remove(torrent)
  return emptyReply(204)
}

async function addPeers(context: RequestContext, infoHash: InfoHash): Promise<Reply> {
  await requireGrant(context, 'add', { infoHash })
  const body = await readJsonObject(context.request, {
    maxBytes: context.maxRequestBytes,
    keys: ['peers'],
  })
  const peers = readPeers(body.get('peers'))
  return jsonReply(200, { added: known(context, infoHash).addPeers(peers) })
}

async function add(context: RequestContext): Promise<Reply> {
  await requireGrant(context, 'add')
  const { source, peers, hasMetainfo } = await readSource(context)
  const before = new Set(context.client.torrents)
  const { signal } = context.request
  const torrent = await context.client.add(source, { peers, signal })
  context.asked.keep(torrent)
  // Opens the storage, no more: the metadata is there already.
  if (hasMetainfo || torrent.metainfo !== undefined) await torrent.ready({ signal })
  const status = !torrent.isReady ? 202 : before.has(torrent) ? 200 : 201
  return jsonReply(status, torrentJson(torrent), { location: locationOf(context, torrent) })
}

interface Source {
  readonly source: string | Uint8Array
  readonly peers: readonly PeerAddress[]
  /** Whether nothing has to be asked of the swarm to know all about the torrent. */
  readonly hasMetainfo: boolean
}

async function readSource(context: RequestContext): Promise<Source> {
  const { request, target, maxRequestBytes: maxBytes } = context
  switch (bodyType(request.headers)) {
    case 'application/json': {
      const keys = ['magnet', 'url', 'infoHash', 'peers']
      return readJsonSource(await readJsonObject(request, { maxBytes, keys }))
    }
    case 'application/x-bittorrent': {
      const peers = readPeers(target.query.getAll('peer'))
      return { source: await readBody(request, maxBytes), peers, hasMetainfo: true }
    }
    default:
      throw new IsthmusError(
        'ISTHMUS_REQUEST_TYPE',
        'the content type must be application/json or application/x-bittorrent',
      )
  }
}

function readJsonSource(body: ReadonlyMap<string, unknown>): Source {
  const { peers = [], ...sources } = Object.fromEntries(body)
  const [[kind, source] = [], ...others] = Object.entries(sources)
  if (typeof source !== 'string' || others.length > 0) {
    throw invalid('exactly one of magnet, url and infoHash must be there, as a string')
  }
  if (kind === 'infoHash') {
    return { source: parseInfoHash(source), peers: readPeers(peers), hasMetainfo: false }
  }
  if (kind === 'magnet' && !/^magnet:/i.test(source)) {
    throw new IsthmusError('ISTHMUS_MAGNET_INVALID', 'a magnet link starts with magnet:')
  }
  if (kind === 'url' && !/^https?:/i.test(source)) {
    throw new IsthmusError('ISTHMUS_URL_INVALID', 'the URL of a .torrent starts with http')
  }
  return { source, peers: readPeers(peers), hasMetainfo: kind === 'url' }
}

function readPeers(peers: unknown): PeerAddress[] {
  if (!Array.isArray(peers)) throw invalid('peers must be a list of "host:port"')
  return peers.map((peer: unknown) => {
    if (typeof peer === 'string') return parsePeerAddress(peer)
    throw invalid('every peer must be a string "host:port"')
  })
}

function known(context: RequestContext, infoHash: InfoHash): Torrent {
  const torrent = context.client.get(infoHash)
  if (torrent !== undefined) return torrent
  throw new IsthmusError('ISTHMUS_TORRENT_UNKNOWN', `there is no torrent ${infoHash}`)
}

function locationOf(context: RequestContext, torrent: Torrent): string {
  return `${context.publicUrl ?? ''}/api/torrents/${torrent.infoHash}`
}

function unknownRoute(): IsthmusError {
  return new IsthmusError('ISTHMUS_ROUTE_UNKNOWN', 'there is nothing at this path')
}

function invalid(problem: string): IsthmusError {
  return new IsthmusError('ISTHMUS_REQUEST_INVALID', problem)
}
