import { expect, onTestFinished, test, vi } from 'vitest'
import { addressOf, openClient, seed } from '../../../../test/support/loopback-clients.ts'
import { makeTorrent, randomBytes } from '../../../../test/support/torrents.ts'
import { Wire } from '../wire/wire.ts'

test('with fewer slots than downloaders everybody is choked now and then, and all is delivered', async () => {
  const made = makeTorrent({ files: randomBytes(2 * 1024 * 1024, 1), pieceLength: 64 * 1024 })
  const choking = vi.spyOn(Wire.prototype, 'setChoking')
  onTestFinished(() => choking.mockRestore())
  // Turns of less than 100 ms, and not less than a second in all.
  const seeder = openClient({
    limits: { uploadSlots: 1, chokeRoundMs: 5 },
    rates: { upload: 6_000_000 },
  })
  await seed(seeder, made)
  const peers = [addressOf(seeder)]
  const downloads = Array.from({ length: 3 }, async () => {
    const torrent = await openClient().add(made.torrent, { peers })
    await torrent.download()
    expect(torrent.isComplete).toBe(true)
  })
  await Promise.all(downloads)
  const chokes = choking.mock.calls.filter(([choke]) => choke)
  // Three that are done would make three.
  expect(chokes.length).toBeGreaterThan(5)
})

test('the first one who is interested is unchoked without waiting for a round', async () => {
  const made = makeTorrent({ files: randomBytes(100_000, 2), pieceLength: 16_384 })
  const seeder = openClient({ limits: { chokeRoundMs: 600_000 } })
  await seed(seeder, made)
  const torrent = await openClient().add(made.torrent, { peers: [addressOf(seeder)] })
  await torrent.download()
  expect(torrent.isComplete).toBe(true)
})
