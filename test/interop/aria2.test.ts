import { test } from 'vitest'
import { announceFor } from '../support/announce.ts'
import { Aria2 } from '../support/aria2.ts'
import { BarePeer } from '../support/bare-peer.ts'
import { endAfterTest, temporaryDirectory } from '../support/cleanup.ts'
import { describeWith } from '../support/clients.ts'
import { type Content, manyFiles, writeContent } from '../support/content.ts'
import { expectOnDisk, expectWholeAndRanges } from '../support/expectations.ts'
import { sampleFiles, sampleInfoHash, sampleTorrentFile } from '../support/sample.ts'
import { Server } from '../support/server.ts'
import { startTracker } from '../support/tracker.ts'

/** aria2c learns of us from a tracker, because it takes no peers by hand. */
async function downloadFrom(
  address: string,
  infoHash: string,
  torrent: string,
  encrypted = false,
): Promise<string> {
  const tracker = endAfterTest(await startTracker())
  await announceFor(tracker.httpUrl, infoHash, address)
  const directory = await temporaryDirectory()
  const aria2 = endAfterTest(
    Aria2.download({ torrent, directory, tracker: tracker.httpUrl, encrypted }),
  )
  await aria2.done()
  return directory
}

const start = async (flags?: readonly string[]) => endAfterTest(await Server.start({ flags }))

async function torrentFileOf(content: Content): Promise<string> {
  return writeContent({ ...content, files: [] }, await temporaryDirectory())
}

describeWith('aria2', 'aria2 downloads from us', () => {
  test.each([
    ['', false],
    [', with encryption required', true],
  ])('the sample%s', async (_, encrypted) => {
    const { peerAddress } = await start()
    const directory = await downloadFrom(peerAddress, sampleInfoHash, sampleTorrentFile, encrypted)
    await expectOnDisk(directory, { files: sampleFiles })
  })

  test('a torrent that we hold in --data', async () => {
    const content = manyFiles(51)
    const peer = endAfterTest(await BarePeer.start({ content }))
    const server = await start(['--data', await temporaryDirectory()])
    await expectWholeAndRanges(server, content, [peer.address])
    await peer.stop()
    const torrent = await torrentFileOf(content)
    const directory = await downloadFrom(server.peerAddress, content.infoHash, torrent)
    await expectOnDisk(directory, content)
  })
})
