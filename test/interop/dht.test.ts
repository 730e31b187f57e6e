import { randomBytes } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import {
  AddressPolicy,
  DhtDiscovery,
  EgressGuard,
  formatPeerAddress,
  parseInfoHash,
  parsePeerAddress,
  type TorrentId,
  torrentIdOf,
} from '@isthmus/core'
import { expect, test } from 'vitest'
import { endAfterTest } from '../support/cleanup.ts'
import { describeWith } from '../support/clients.ts'
import { LibtorrentDht } from '../support/libtorrent-dht.ts'

const totals = { uploaded: 0, downloaded: 0 }
const guard = new EgressGuard({ policy: new AddressPolicy({ allow: ['127.0.0.0/8'] }) })

function ours(peerPort: number, bootstrap: readonly string[] = []): DhtDiscovery {
  const host = '127.0.0.1'
  return endAfterTest(new DhtDiscovery({ guard, host, bootstrap, peerPort: () => peerPort }))
}

function randomTorrent() {
  const infoHash = randomBytes(20).toString('hex')
  return { infoHash, id: torrentIdOf(parseInfoHash(infoHash)) }
}

/** Looks again and again until it is found. */
async function finds(dht: DhtDiscovery, id: TorrentId, peer: string): Promise<void> {
  const ended = new AbortController()
  const looking = (async () => {
    while (!ended.signal.aborted) {
      await dht.announce(id, 'update', { totals })
      await setTimeout(500, undefined, { signal: ended.signal }).catch(() => {})
    }
  })()
  for await (const found of dht.find(id, { signal: AbortSignal.timeout(50_000) })) {
    if (formatPeerAddress(found) === peer) ended.abort()
    if (ended.signal.aborted) break
  }
  const found = ended.signal.aborted
  ended.abort()
  await looking
  expect(found, `${peer} was found`).toBe(true)
}

describeWith('libtorrent', 'the DHT with libtorrent', () => {
  test('libtorrent finds a peer that we keep', async () => {
    const router = ours(4321)
    const address = formatPeerAddress(await router.listen())
    const { infoHash, id } = randomTorrent()
    await ours(4322, [address]).announce(id, 'started', { totals })
    const libtorrent = endAfterTest(await LibtorrentDht.start())
    libtorrent.addNode(address)
    await libtorrent.connected()
    await libtorrent.finds(infoHash, '127.0.0.1:4322')
  })

  test('we find a peer that libtorrent keeps', async () => {
    const libtorrent = endAfterTest(await LibtorrentDht.start())
    const { id } = randomTorrent()
    await ours(4323, [libtorrent.address]).announce(id, 'started', { totals })
    const looking = ours(4324)
    looking.addNode(parsePeerAddress(libtorrent.address))
    await looking.listen()
    await finds(looking, id, '127.0.0.1:4323')
  })

  test('we find libtorrent itself, which announces to us', async () => {
    const dht = ours(4325)
    const libtorrent = endAfterTest(await LibtorrentDht.start())
    libtorrent.addNode(formatPeerAddress(await dht.listen()))
    await libtorrent.connected()
    const { infoHash, id } = randomTorrent()
    libtorrent.announce(infoHash)
    await finds(dht, id, libtorrent.address)
  })
})
