import { describe, expect, test } from 'vitest'
import type { AnnounceEvent, AnnounceOptions, Discovery } from '../discovery/discovery.ts'
import { PeerFeed } from '../discovery/peer-feed.ts'
import { IsthmusError } from '../errors.ts'
import { primaryInfoHash, type TorrentId } from '../metainfo/info-hash.ts'
import type { PeerAddress } from '../net/peer-address.ts'
import type { AbortOptions } from '../signal.ts'
import { discoveryConformance } from './discovery.ts'

/** What several participants in one process know of each other. */
class Hub {
  readonly members = new Set<HubDiscovery>()
}

class HubDiscovery implements Discovery {
  readonly address: PeerAddress
  readonly #hub: Hub
  readonly #known = new Map<string, PeerAddress[]>()
  readonly #feeds = new Set<{ readonly key: string; readonly feed: PeerFeed }>()
  #closed = false

  constructor(hub: Hub, port: number) {
    this.#hub = hub
    this.address = { host: '192.0.2.1', port }
    hub.members.add(this)
  }

  keyOf(id: TorrentId): string {
    return primaryInfoHash(id)
  }

  isClosed(): boolean {
    return this.#closed
  }

  find(id: TorrentId, { signal }: AbortOptions): AsyncIterable<PeerAddress> {
    const feed = new PeerFeed(100)
    if (this.isClosed() || signal?.aborted === true) feed.end()
    signal?.addEventListener('abort', () => feed.end(), { once: true })
    this.#feeds.add({ key: this.keyOf(id), feed })
    feed.push(this.#known.get(this.keyOf(id)) ?? [])
    return feed
  }

  async announce(id: TorrentId, _: AnnounceEvent, { signal }: AnnounceOptions): Promise<void> {
    signal?.throwIfAborted()
    if (this.isClosed()) throw new IsthmusError('ISTHMUS_CLIENT_CLOSED', 'closed')
    for (const member of this.#hub.members) {
      if (member !== this) member.hear(this.keyOf(id), this.address)
    }
  }

  hear(key: string, peer: PeerAddress): void {
    this.#known.set(key, [...(this.#known.get(key) ?? []), peer])
    for (const search of this.#feeds) if (search.key === key) search.feed.push([peer])
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const { feed } of this.#feeds) feed.end()
  }
}

function casesOf(Member: typeof HubDiscovery) {
  return discoveryConformance(async () => {
    const hub = new Hub()
    return {
      join: async () => {
        const discovery = new Member(hub, 7000 + hub.members.size)
        return { discovery, address: discovery.address }
      },
    }
  })
}

describe('a discovery that keeps its promises passes:', () => {
  for (const { name, run } of casesOf(HubDiscovery)) test(name, run)
})

class MixesTorrents extends HubDiscovery {
  override keyOf(): string {
    return 'all'
  }
}

class StaysOpen extends HubDiscovery {
  override isClosed(): boolean {
    return false
  }
}

class IgnoresAborts extends HubDiscovery {
  override announce(id: TorrentId, event: AnnounceEvent, options: AnnounceOptions): Promise<void> {
    return super.announce(id, event, { totals: options.totals })
  }
}

class ThrowsOnAbort extends HubDiscovery {
  override async *find(id: TorrentId, options: AbortOptions): AsyncGenerator<PeerAddress> {
    yield* super.find(id, options)
    options.signal?.throwIfAborted()
  }
}

class EndsWhenEmpty extends HubDiscovery {
  override find(id: TorrentId): AsyncIterable<PeerAddress> {
    return super.find(id, { signal: AbortSignal.abort() })
  }
}

class YieldsNames extends HubDiscovery {
  override readonly address = { host: 'localhost', port: 7000 }
}

describe('a discovery that breaks a promise is found out:', () => {
  test.each([
    [MixesTorrents, 'peers of one torrent are not found for another'],
    [StaysOpen, 'a closed discovery finds nothing and refuses announces'],
    [IgnoresAborts, 'announcing with an aborted signal rejects with its reason'],
    [ThrowsOnAbort, 'a signal that aborted before ends the search at once'],
    [EndsWhenEmpty, 'an empty source waits, and ends when the signal aborts'],
    [YieldsNames, 'what is yielded are addresses with ports'],
  ])('%o', async (Member, promise) => {
    const broken = casesOf(Member).find(({ name }) => name === promise)
    await expect(broken?.run()).rejects.toMatchObject({ code: 'ISTHMUS_CONFORMANCE_FAILED' })
  })
})
