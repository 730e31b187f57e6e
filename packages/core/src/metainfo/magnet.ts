import { isIP } from 'node:net'
import type { ByteRange } from '../byte-source.ts'
import { IsthmusError } from '../errors.ts'
import { defaultLimits, type Limits } from '../limits.ts'
import {
  type InfoHashV1,
  type InfoHashV2,
  parseInfoHash,
  type TorrentId,
  torrentIdOf,
} from './info-hash.ts'
import { keepUsable, trackerUrl, webUrl } from './source-urls.ts'

/** What a magnet link says (BEP 9, BEP 53). Nothing in it was verified. */
export interface Magnet {
  readonly id: TorrentId
  readonly name?: string | undefined
  /** http, https and udp URLs. */
  readonly trackers: readonly string[]
  /** http and https URLs. */
  readonly webSeeds: readonly string[]
  /** http and https URLs of a .torrent (`xs`). */
  readonly exactSources: readonly string[]
  /** `host:port` or `[host]:port`; the host is an IP literal. */
  readonly peers: readonly string[]
  /** Indices of the wanted files, in order, apart from each other, half-open. All files where it is missing. */
  readonly selection?: readonly ByteRange[] | undefined
}

export interface MagnetOptions {
  /** @defaultValue the default limits */
  readonly limits?: Limits | undefined
}

/**
 * Reads a magnet link. Of trackers, web seeds, sources and peers the first ones are kept, up to the
 * limits (sources share the limit of web seeds); those that we could never use are left out, such as
 * other schemes and peers given by name. Parameters that are not known are ignored.
 *
 * @throws IsthmusError `ISTHMUS_MAGNET_INVALID` where it is no magnet link of a torrent, is too long,
 * names two torrents, or a part of it is malformed.
 */
export function parseMagnet(uri: string, options: MagnetOptions = {}): Magnet {
  const { limits = defaultLimits } = options
  if (uri.length > limits.magnetCharacters) throw invalid('is too long')
  if (!/^magnet:\?/i.test(uri)) throw invalid('does not start with magnet:?')
  const parameters = readParameters(uri.slice('magnet:?'.length))
  const valuesOf = (name: string) => parameters.get(name) ?? []
  const name = valuesOf('dn').find((value) => value !== '')
  const selection = valuesOf('so')[0]
  return {
    id: readTopics(valuesOf('xt')),
    ...(name !== undefined && { name }),
    trackers: keepUsable(valuesOf('tr'), trackerUrl, limits.trackers),
    webSeeds: keepUsable(valuesOf('ws'), webUrl, limits.webSeeds),
    exactSources: keepUsable(valuesOf('xs'), webUrl, limits.webSeeds),
    peers: keepUsable(valuesOf('x.pe'), literalPeer, limits.magnetPeers),
    ...(selection !== undefined && { selection: readSelection(selection) }),
  }
}

/**
 * Writes the link that {@link parseMagnet} reads back as the same magnet. A selection of no file at all
 * cannot be said, and is left out.
 */
export function formatMagnet(magnet: Magnet): string {
  const { v1, v2 } = magnet.id
  const parameters: string[] = []
  const add = (name: string, values: readonly string[]) => {
    for (const value of values) parameters.push(`${name}=${escapeValue(value)}`)
  }
  if (v1 !== undefined) parameters.push(`xt=${V1_TOPIC}${v1}`)
  if (v2 !== undefined) parameters.push(`xt=${V2_TOPIC}${v2}`)
  add('dn', magnet.name === undefined ? [] : [magnet.name])
  add('tr', magnet.trackers)
  add('ws', magnet.webSeeds)
  add('xs', magnet.exactSources)
  add('x.pe', magnet.peers)
  const selection = formatSelection(magnet.selection ?? [])
  if (selection !== '') parameters.push(`so=${selection}`)
  return `magnet:?${parameters.join('&')}`
}

const V1_TOPIC = 'urn:btih:'
/** A multihash: 0x12 is SHA2-256, 0x20 its length. */
const V2_TOPIC = 'urn:btmh:1220'

/** Values by name; `tr.1`, `tr.2` are more of `tr`. Only what is read is decoded. */
function readParameters(query: string): Map<string, string[]> {
  const parameters = new Map(
    ['xt', 'dn', 'tr', 'ws', 'xs', 'x.pe', 'so'].map((name) => [name, [] as string[]]),
  )
  for (const part of query.split('&')) {
    // Only the first '=' ends the name: trackers come with raw ones in their query.
    const [, key = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(part) ?? []
    const name = key.toLowerCase().replace(/\.\d+$/, '')
    // In a name a plus is a space, as in a form; in a URL it may be itself.
    parameters.get(name)?.push(unescapeValue(name === 'dn' ? value.replaceAll('+', ' ') : value))
  }
  return parameters
}

function readTopics(topics: readonly string[]): TorrentId {
  let v1: InfoHashV1 | undefined
  let v2: InfoHashV2 | undefined
  for (const topic of topics) {
    const id = readTopic(topic)
    if ((v1 ?? id.v1) !== (id.v1 ?? v1) || (v2 ?? id.v2) !== (id.v2 ?? v2)) {
      throw invalid('names two torrents')
    }
    v1 ??= id.v1
    v2 ??= id.v2
  }
  if (v1 === undefined && v2 === undefined) throw invalid('names no torrent (xt)')
  return { ...(v1 !== undefined && { v1 }), ...(v2 !== undefined && { v2 }) }
}

/** Topics of other networks say nothing. */
function readTopic(topic: string): TorrentId {
  const [, scheme = '', hash = ''] = /^urn:(btih|btmh):(.*)$/is.exec(topic) ?? []
  if (scheme === '') return {}
  const isV1 = scheme.toLowerCase() === 'btih'
  if (!(isV1 ? /^(?:[0-9a-f]{40}|[a-z2-7]{32})$/i : /^1220[0-9a-f]{64}$/i).test(hash)) {
    throw invalid(`has a malformed urn:${scheme}`)
  }
  return torrentIdOf(parseInfoHash(isV1 ? hash : hash.slice('1220'.length)))
}

/** @returns undefined for a name: asking a resolver is nothing that a link may make us do. */
function literalPeer(text: string): string | undefined {
  const [, v6, v4, port] = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):([0-9]{1,5})$/i.exec(text) ?? []
  const number = Number(port)
  if (!(number >= 1 && number <= 65_535)) return undefined
  if (v4 !== undefined) return isIP(v4) === 4 ? `${v4}:${number}` : undefined
  return v6 !== undefined && isIP(v6) === 6 ? `[${v6.toLowerCase()}]:${number}` : undefined
}

/** BEP 53: `0,2,6-8`, both ends included. Kept as ranges: `0-4294967295` is one. */
function readSelection(text: string): readonly ByteRange[] {
  const ranges = text.split(',').map((part) => {
    const [, first, last = first] = /^([0-9]{1,10})(?:-([0-9]{1,10}))?$/.exec(part) ?? []
    const range = { start: Number(first), end: Number(last) + 1 }
    if (!(range.start < range.end)) throw invalid('has a malformed selection (so)')
    return range
  })
  const merged: { start: number; end: number }[] = []
  for (const range of ranges.sort((a, b) => a.start - b.start)) {
    const previous = merged.at(-1)
    if (previous !== undefined && range.start <= previous.end) {
      previous.end = Math.max(previous.end, range.end)
    } else {
      merged.push(range)
    }
  }
  return merged
}

function formatSelection(ranges: readonly ByteRange[]): string {
  return ranges
    .filter(({ start, end }) => start < end)
    .map(({ start, end }) => (end - start === 1 ? `${start}` : `${start}-${end - 1}`))
    .join(',')
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })

/** What is no UTF-8 becomes U+FFFD: old links carry names in other encodings. */
function unescapeValue(value: string): string {
  if (/%(?![0-9a-f]{2})/i.test(value)) throw invalid('has an invalid percent escape')
  return value
    .replace(/(?:%[0-9a-f]{2})+/gi, (run) =>
      utf8.decode(Buffer.from(run.replaceAll('%', ''), 'hex')),
    )
    .replace(/\p{Surrogate}/gu, '\uFFFD')
}

function escapeValue(value: string): string {
  return encodeURIComponent(value.replace(/\p{Surrogate}/gu, '\uFFFD'))
}

function invalid(problem: string): IsthmusError {
  return new IsthmusError('ISTHMUS_MAGNET_INVALID', `the magnet link ${problem}`)
}
