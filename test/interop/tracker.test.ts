import { describe, expect, test } from 'vitest'
import { endAfterTest, temporaryDirectory } from '../support/cleanup.ts'
import { describeWith } from '../support/clients.ts'
import { magnetOf, manyFiles, writeContent } from '../support/content.ts'
import { expectFiles } from '../support/expectations.ts'
import { Libtorrent } from '../support/libtorrent.ts'
import { Server } from '../support/server.ts'
import { startTracker } from '../support/tracker.ts'

describeWith('libtorrent', 'a magnet link alone', () => {
  describe.each(['httpUrl', 'udpUrl'] as const)('with a tracker at %s', (kind) => {
    test('is read over HTTP: peers from the tracker, metadata from libtorrent', async () => {
      const content = manyFiles(kind === 'httpUrl' ? 41 : 42)
      const tracker = endAfterTest(await startTracker())
      const directory = await temporaryDirectory()
      const torrent = await writeContent(content, directory)
      const trackers = [tracker[kind]]
      endAfterTest(await Libtorrent.seed({ torrent, directory, trackers }))
      await tracker.seen(1)
      const flags = ['--allow-address', '127.0.0.0/8']
      const server = endAfterTest(await Server.start({ flags }))
      const added = await server.addMagnet(magnetOf(content, trackers))
      expect([201, 202]).toContain(added.status)
      await expectFiles(server, content)
    })
  })
})
