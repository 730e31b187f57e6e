import { describe, expect, test } from 'vitest'
import { announceFor } from '../support/announce.ts'
import { BarePeer } from '../support/bare-peer.ts'
import { endAfterTest } from '../support/cleanup.ts'
import { type Content, fewFiles } from '../support/content.ts'
import { expectFiles } from '../support/expectations.ts'
import { Server } from '../support/server.ts'
import { makeTorrent } from '../support/torrents.ts'
import { startTracker, type TestTracker } from '../support/tracker.ts'

const loopbackAllowed = ['--allow-address', '127.0.0.0/8']

/** The same torrent with a tracker in its .torrent. */
function trackedBy(content: Content, url: string): Uint8Array {
  const { name, pieceLength } = content
  const files = content.files.map(({ path, bytes }) => ({ path: path.split('/').slice(1), bytes }))
  const made = makeTorrent({ name, pieceLength, files, trackers: [url] })
  expect(made.infoHash).toBe(content.infoHash)
  return made.torrent
}

function eventsOf({ announces }: TestTracker, port: number): string[] {
  return announces.filter((seen) => seen.port === port).map(({ event }) => event)
}

describe.each(['httpUrl', 'udpUrl'] as const)('a tracker at %s', (kind) => {
  test('names the peers, and hears started, completed and, on SIGTERM, stopped', async () => {
    const content = fewFiles(kind === 'httpUrl' ? 31 : 32)
    const tracker = endAfterTest(await startTracker())
    const peer = endAfterTest(await BarePeer.start({ content }))
    await announceFor(tracker.httpUrl, content.infoHash, peer.address)
    const server = endAfterTest(await Server.start({ flags: loopbackAllowed }))
    const port = Number(server.peerAddress.split(':').at(-1))
    expect((await server.addTorrent(trackedBy(content, tracker[kind]))).status).toBe(201)
    await expectFiles(server, content)
    await expect.poll(() => eventsOf(tracker, port)).toEqual(['started', 'completed'])
    expect(await server.stop()).toBe(0)
    expect(eventsOf(tracker, port)).toEqual(['started', 'completed', 'stopped'])
    const stopped = tracker.announces.at(-1)
    expect(stopped).toMatchObject({ downloaded: content.bytes.length, left: 0 })
  })
})

test('a tracker that never answers does not keep the server from ending', async () => {
  const content = fewFiles(33)
  const tracker = endAfterTest(await startTracker())
  tracker.misbehave({ kind: 'silence' })
  const server = endAfterTest(await Server.start({ flags: loopbackAllowed }))
  await server.addTorrent(trackedBy(content, tracker.httpUrl))
  await tracker.seen(1)
  const started = performance.now()
  expect(await server.stop()).toBe(0)
  expect(performance.now() - started).toBeLessThan(9000)
})
