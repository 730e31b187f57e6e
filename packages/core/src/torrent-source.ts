import { IsthmusError } from './errors.ts'
import type { Limits } from './limits.ts'
import { parseInfoHash, type TorrentId, torrentIdOf } from './metainfo/info-hash.ts'
import { type Magnet, parseMagnet } from './metainfo/magnet.ts'
import { type Metainfo, metainfoFromInfo, parseMetainfo } from './metainfo/metainfo.ts'
import type { EgressGuard } from './net/egress-guard.ts'
import { fetchBytes } from './net/fetch-bytes.ts'
import type { AbortOptions } from './signal.ts'

/** What parse-torrent makes of a torrent, as far as it is looked at. */
export interface ParsedTorrent {
  readonly infoHash: string
  /** The original info dictionary, where it is there. */
  readonly infoBuffer?: Uint8Array | undefined
  readonly announce?: readonly string[] | undefined
}

/**
 * What a client adds: a magnet link, an info hash, the http(s) URL of a .torrent, the bytes of one, or
 * what a parser made of any of these.
 */
export type TorrentSource = string | Uint8Array | Metainfo | Magnet | ParsedTorrent

/** What is known of a torrent before it is added. */
export interface ResolvedSource {
  readonly id: TorrentId
  readonly name?: string | undefined
  readonly metainfo?: Metainfo | undefined
  readonly trackers: readonly (readonly string[])[]
  readonly exactSources: readonly string[]
  /** `host:port`, named by whoever made the link. */
  readonly peers: readonly string[]
}

/** Rejects with the codes of the parsers and of `fetchBytes`; a `TypeError` for anything else. */
export async function resolveSource(
  source: TorrentSource,
  { guard, limits, signal }: AbortOptions & { guard: EgressGuard; limits: Limits },
): Promise<ResolvedSource> {
  if (source instanceof Uint8Array) return fromMetainfo(parseMetainfo(source, { limits }))
  if (typeof source === 'string') {
    if (/^magnet:/i.test(source)) return fromMagnet(parseMagnet(source, { limits }))
    if (!/^https?:/i.test(source)) return fromHash(source)
    const { bytes } = await fetchBytes(guard, urlOf(source), {
      maxBytes: limits.metainfoBytes,
      signal,
    })
    return fromMetainfo(parseMetainfo(bytes, { limits }))
  }
  if ('infoBytes' in source) return fromMetainfo(source)
  if ('exactSources' in source) return fromMagnet(source)
  if (typeof source.infoHash !== 'string') throw new TypeError('this is no torrent')
  const { infoBuffer, infoHash, announce = [] } = source
  if (infoBuffer === undefined) return { ...fromHash(infoHash), trackers: [announce] }
  const expect = torrentIdOf(parseInfoHash(infoHash))
  return fromMetainfo(metainfoFromInfo(infoBuffer, { limits, expect, trackers: [announce] }))
}

function fromMetainfo(metainfo: Metainfo): ResolvedSource {
  const { id, trackers, name } = metainfo
  return { id, name, metainfo, trackers, exactSources: [], peers: [] }
}

function fromMagnet(magnet: Magnet): ResolvedSource {
  const { id, name, trackers, exactSources, peers } = magnet
  // BEP 9 knows no tiers: every tracker of a link is as good as the next.
  return { id, name, trackers: trackers.map((tracker) => [tracker]), exactSources, peers }
}

function fromHash(text: string): ResolvedSource {
  return { id: torrentIdOf(parseInfoHash(text)), trackers: [], exactSources: [], peers: [] }
}

function urlOf(text: string): URL {
  try {
    return new URL(text)
  } catch (cause) {
    throw new IsthmusError('ISTHMUS_URL_INVALID', 'this is no URL', { cause })
  }
}
