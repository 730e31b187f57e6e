import type { AnnounceEvent, Discovery } from '../discovery/discovery.ts'
import { parseInfoHash, type TorrentId, torrentIdOf } from '../metainfo/info-hash.ts'
import { formatPeerAddress, type PeerAddress, parsePeerAddress } from '../net/peer-address.ts'
import type { ConformanceCase } from './conformance-case.ts'
import { conformanceCase, expectCode, expectReason, expectThat, isWaiting } from './expectations.ts'

/** One source of peers that several participants share. */
export interface DiscoveryFixture {
  /** Another participant, and the address under which the others find it once it was announced. */
  join(): Promise<{ readonly discovery: Discovery; readonly address: PeerAddress }>
  /** Ends the source; called after the participants were closed. */
  close?(): Promise<void>
}

/**
 * The promises of {@link Discovery}. Each case sets up a source of its own, and closes it.
 *
 * @example
 * for (const { name, run } of discoveryConformance(setup)) test(name, run)
 */
export function discoveryConformance(
  setup: () => Promise<DiscoveryFixture>,
): readonly ConformanceCase[] {
  const promise = (name: string, body: (source: Source) => Promise<void>) =>
    conformanceCase(name, () => withSource(setup, body))
  return [
    promise('a peer that was announced is found by another', findsAnother),
    promise('torrents of v1, of v2 and hybrids are announced and found', findsEveryVersion),
    promise('what is yielded are addresses with ports', yieldsAddresses),
    promise('peers of one torrent are not found for another', keepsTorrentsApart),
    promise('an empty source waits, and ends when the signal aborts', waitsWhileEmpty),
    promise('a signal that aborted before ends the search at once', endsAtOnce),
    promise('leaving the loop leaves other searches alone', leavesOthersAlone),
    promise('every event of a torrent is taken', takesEveryEvent),
    promise('announcing with an aborted signal rejects with its reason', rejectsWithReason),
    promise('closing ends every search, and may be repeated', closingEnds),
    promise('a closed discovery finds nothing and refuses announces', refusesOnceClosed),
  ]
}

interface Participant {
  readonly discovery: Discovery
  readonly address: PeerAddress
}

interface Source {
  join(): Promise<Participant>
  /** Aborts when the case takes too long, and when it is over. */
  readonly signal: AbortSignal
}

// Below the 5 s after which common test runners give up without a word about the promise.
const CASE_MS = 4000
const totals = { uploaded: 0, downloaded: 0, left: 1000 }
const v1 = torrentIdOf(parseInfoHash('11'.repeat(20)))
const v2 = torrentIdOf(parseInfoHash('22'.repeat(32)))
const hybrid: TorrentId = {
  ...torrentIdOf(parseInfoHash('33'.repeat(20))),
  ...torrentIdOf(parseInfoHash('44'.repeat(32))),
}

async function withSource(
  setup: () => Promise<DiscoveryFixture>,
  body: (source: Source) => Promise<void>,
): Promise<void> {
  const fixture = await setup()
  const joined: Discovery[] = []
  const over = new AbortController()
  const timer = setTimeout(() => over.abort(), CASE_MS)
  const join = async () => {
    const participant = await fixture.join()
    joined.push(participant.discovery)
    return participant
  }
  try {
    await body({ join, signal: over.signal })
  } finally {
    clearTimeout(timer)
    over.abort()
    await Promise.all(joined.map((discovery) => discovery.close()))
    await fixture.close?.()
  }
}

async function findsAnother(source: Source): Promise<void> {
  await meet(source, v1)
}

async function findsEveryVersion(source: Source): Promise<void> {
  for (const id of [v1, v2, hybrid]) await meet(source, id)
}

async function yieldsAddresses(source: Source): Promise<void> {
  const found = await meet(source, v1)
  const text = formatPeerAddress(found)
  const canonical = formatPeerAddress(parsePeerAddress(text))
  expectThat(text === canonical, `${text} is not written as ${canonical}`)
}

async function keepsTorrentsApart(source: Source): Promise<void> {
  const { discovery, address } = await source.join()
  const looking = await source.join()
  const wrong = firstMatch(search(looking.discovery, v2, source.signal), address)
  await announce(discovery, v1, 'started')
  await announce(looking.discovery, v2, 'started')
  await announce(looking.discovery, v1, 'started')
  const found = await firstMatch(search(looking.discovery, v1, source.signal), address)
  expectThat(found !== undefined, 'the announced peer was not found')
  await looking.discovery.close()
  expectThat((await wrong) === undefined, 'a peer of another torrent was yielded')
}

async function waitsWhileEmpty(source: Source): Promise<void> {
  const { discovery } = await source.join()
  const controller = new AbortController()
  const next = search(discovery, v1, controller.signal).next()
  expectThat(await isWaiting(next), 'find() of an empty source did not wait')
  controller.abort(new Error('enough'))
  expectThat((await next).done === true, 'find() yielded a peer after its signal aborted')
}

async function endsAtOnce(source: Source): Promise<void> {
  const { discovery } = await source.join()
  const { done } = await search(discovery, v1, AbortSignal.abort()).next()
  expectThat(done === true, 'find() with an aborted signal yielded a peer')
}

async function leavesOthersAlone(source: Source): Promise<void> {
  const announced = await source.join()
  const { discovery } = await source.join()
  await announce(announced.discovery, v1, 'started')
  await announce(discovery, v1, 'started')
  for await (const _ of discovery.find(v1, { signal: source.signal })) break
  const found = await firstMatch(search(discovery, v1, source.signal), announced.address)
  expectThat(found !== undefined, 'nothing was found after an earlier search had been left')
}

async function takesEveryEvent(source: Source): Promise<void> {
  const { discovery } = await source.join()
  const events: readonly AnnounceEvent[] = ['started', 'update', 'completed', 'stopped', 'started']
  for (const event of events) await announce(discovery, v1, event)
}

async function rejectsWithReason(source: Source): Promise<void> {
  const { discovery } = await source.join()
  const reason = new Error('enough')
  const signal = AbortSignal.abort(reason)
  await expectReason(discovery.announce(v1, 'started', { totals, signal }), reason, 'announce()')
}

async function closingEnds(source: Source): Promise<void> {
  const { discovery } = await source.join()
  const searches = [v1, v1, v2].map((id) => search(discovery, id, source.signal).next())
  for (const next of searches) expectThat(await isWaiting(next), 'find() did not wait')
  await discovery.close()
  for (const next of searches) expectThat((await next).done === true, 'find() went on')
  await discovery.close()
}

async function refusesOnceClosed(source: Source): Promise<void> {
  const { discovery } = await source.join()
  await announce(discovery, v1, 'started')
  await discovery.close()
  const announcing = discovery.announce(v1, 'update', { totals })
  await expectCode(announcing, 'ISTHMUS_CLIENT_CLOSED', 'announce() of a closed discovery')
  const { done } = await search(discovery, v1, source.signal).next()
  expectThat(done === true, 'find() of a closed discovery did not end')
}

/** Two join; the second looks before it or the first is announced, so that no kind of source is left out. */
async function meet(source: Source, id: TorrentId): Promise<PeerAddress> {
  const first = await source.join()
  const second = await source.join()
  const found = firstMatch(search(second.discovery, id, source.signal), first.address)
  await announce(first.discovery, id, 'started')
  await announce(second.discovery, id, 'started')
  const peer = await found
  expectThat(peer !== undefined, 'the announced peer was not found')
  return peer
}

function search(discovery: Discovery, id: TorrentId, signal: AbortSignal): Search {
  return discovery.find(id, { signal })[Symbol.asyncIterator]()
}

type Search = AsyncIterator<PeerAddress>

/** The first that is `address`; undefined when the search ends before. */
async function firstMatch(peers: Search, address: PeerAddress): Promise<PeerAddress | undefined> {
  const wanted = formatPeerAddress(address)
  for (;;) {
    const { value, done } = await peers.next()
    if (done === true) return undefined
    if (formatPeerAddress(value) === wanted) {
      await peers.return?.()
      return value
    }
  }
}

function announce(discovery: Discovery, id: TorrentId, event: AnnounceEvent): Promise<void> {
  return discovery.announce(id, event, { totals })
}
