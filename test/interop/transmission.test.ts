import { test } from 'vitest'
import { endAfterTest, temporaryDirectory } from '../support/cleanup.ts'
import { describeWith } from '../support/clients.ts'
import { manyFiles, writeContent } from '../support/content.ts'
import { expectOnDisk, expectWholeAndRanges } from '../support/expectations.ts'
import { Namespace } from '../support/place.ts'
import { sampleFiles, sampleInfoHash, sampleTorrentFile } from '../support/sample.ts'
import { Server } from '../support/server.ts'
import { Transmission } from '../support/transmission.ts'

// transmission takes no peers from 127/8, so it meets us in a network of its own.
describeWith(['transmission', 'network namespaces'], 'transmission', () => {
  test.each([
    ['', false],
    [', with encryption required', true],
  ])('what it seeds is read over HTTP while it downloads%s', async (_, encrypted) => {
    const place = endAfterTest(await Namespace.open())
    const content = manyFiles(21)
    const directory = await temporaryDirectory()
    const torrent = await writeContent(content, directory)
    const settings = await temporaryDirectory()
    const options = { torrent, directory, settings, place, encrypted }
    const seeder = endAfterTest(await Transmission.seed(options))
    const server = endAfterTest(await Server.start({ place }))
    await expectWholeAndRanges(server, content, [seeder.address])
  })

  test.each([
    ['', false],
    [', with encryption required', true],
  ])('downloads the sample from us%s', async (_, encrypted) => {
    const place = endAfterTest(await Namespace.open())
    const [directory, settings] = [await temporaryDirectory(), await temporaryDirectory()]
    const options = { torrent: sampleTorrentFile, directory, settings, place, encrypted }
    const leecher = endAfterTest(await Transmission.download(options))
    const flags = ['--torrent-host', place.host]
    const server = endAfterTest(await Server.start({ place, flags }))
    await server.addPeers(sampleInfoHash, [leecher.address])
    await leecher.done()
    await expectOnDisk(directory, { files: sampleFiles })
  })
})
