import { expect, onTestFinished, test, vi } from 'vitest'
import { openClient, seed } from '../../../../test/support/loopback-clients.ts'
import { RawPeer } from '../../../../test/support/raw-peer.ts'
import { makeTorrent, randomBytes } from '../../../../test/support/torrents.ts'
import { message } from '../../../../test/support/wire-messages.ts'
import { MessageId } from '../wire/message-id.ts'
import { peerPriority } from './peer-priority.ts'

const made = makeTorrent({ files: randomBytes(50_000, 5), pieceLength: 16_384 })

test('a full torrent keeps, of those that are idle, who has the better priority', async () => {
  const skipMinute = skippableClock()
  const client = openClient({ limits: { torrentPeers: 1, peerIdleMs: 1_000_000_000 } })
  await seed(client, made)
  const port = client.address?.port ?? 0
  const priorityOf = (peer: RawPeer) =>
    peerPriority({ host: '127.0.0.1', port }, { host: '127.0.0.1', port: peer.port })
  const dial = () => RawPeer.dial(port, made.infoHash, {})
  let best = await dial()
  await best.greeting()
  for (let other = 0; other < 6; other++) {
    skipMinute()
    const peer = await dial()
    const [winner, loser] = priorityOf(peer) > priorityOf(best) ? [peer, best] : [best, peer]
    await Promise.all([winner.greeting(), loser.closed()])
    best = winner
  }
  // Whoever was just let in stays for a while, and so does nobody else.
  skipMinute()
  expect(client.peerCount).toBe(1)
})

test('who is sent something keeps its place', async () => {
  const skipMinute = skippableClock()
  const client = openClient({ limits: { torrentPeers: 1, peerIdleMs: 1_000_000_000 } })
  await seed(client, made)
  const port = client.address?.port ?? 0
  const busy = await RawPeer.dial(port, made.infoHash, {})
  busy.send(message(MessageId.interested))
  await busy.hear(({ id }) => id === MessageId.unchoke)
  skipMinute()
  busy.send(message(MessageId.request, Buffer.from('000000000000000000004000', 'hex')))
  await busy.hear(({ id }) => id === MessageId.piece)
  for (let other = 0; other < 3; other++) {
    await (await RawPeer.dial(port, made.infoHash, {})).closed()
  }
  expect(client.peerCount).toBe(1)
})

/** `performance.now()` that can be moved on by a minute and a bit. */
function skippableClock(): () => void {
  const now = performance.now.bind(performance)
  let skipped = 0
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + skipped)
  onTestFinished(() => clock.mockRestore())
  return () => {
    skipped += 61_000
  }
}
