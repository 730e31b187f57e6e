import { expect, test } from 'vitest'
import { endAfterTest, temporaryDirectory } from '../support/cleanup.ts'
import { describeWith } from '../support/clients.ts'
import { type Content, fewFiles, magnetOf, manyFiles, writeContent } from '../support/content.ts'
import { expectFiles, expectOnDisk, expectWholeAndRanges } from '../support/expectations.ts'
import { Libtorrent } from '../support/libtorrent.ts'
import { sampleFiles, sampleInfoHash, sampleTorrentFile } from '../support/sample.ts'
import { Server } from '../support/server.ts'

const start = async (flags?: readonly string[]) => endAfterTest(await Server.start({ flags }))

async function seed(content: Content, host?: string, encrypted = false): Promise<Libtorrent> {
  const directory = await temporaryDirectory()
  const torrent = await writeContent(content, directory)
  return endAfterTest(await Libtorrent.seed({ torrent, directory, host, encrypted }))
}

async function download(torrent: string, peer: string, encrypted = false): Promise<string> {
  const directory = await temporaryDirectory()
  const client = await Libtorrent.download({ torrent, directory, peers: [peer], encrypted })
  await endAfterTest(client).done()
  return directory
}

describeWith('libtorrent', 'what libtorrent seeds', () => {
  test('is read over HTTP while it downloads, into memory', async () => {
    const content = manyFiles(11)
    const seeder = await seed(content)
    await expectWholeAndRanges(await start(), content, [seeder.address])
  })

  test('is read from one that requires encryption', async () => {
    const content = manyFiles(19)
    const seeder = await seed(content, undefined, true)
    await expectWholeAndRanges(await start(), content, [seeder.address])
  })

  test('is read over HTTP while it downloads, from memory that holds a third of it', async () => {
    const content = manyFiles(12)
    const seeder = await seed(content)
    const server = await start(['--memory', `${8 * 1024 * 1024}`])
    await expectWholeAndRanges(server, content, [seeder.address])
  })

  test('is kept in --data, and served from there after a restart without peers', async () => {
    const content = manyFiles(13)
    const seeder = await seed(content)
    const data = await temporaryDirectory()
    const first = await start(['--data', data])
    await expectWholeAndRanges(first, content, [seeder.address])
    expect(await first.stop()).toBe(0)
    await seeder.stop()
    const second = await start(['--data', data])
    await second.addTorrent(content.torrent)
    await expectFiles(second, content)
  })

  test('is read by magnet, with the metadata from libtorrent', async () => {
    const content = fewFiles(14)
    const seeder = await seed(content)
    const server = await start()
    const added = await server.addMagnet(magnetOf(content), [seeder.address])
    expect([201, 202]).toContain(added.status)
    await expectFiles(server, content)
  })
})

describeWith(['libtorrent', 'IPv6'], 'what libtorrent seeds at [::1]', () => {
  test('is read over HTTP while it downloads', async () => {
    const content = fewFiles(15)
    const seeder = await seed(content, '[::1]')
    await expectWholeAndRanges(await start(), content, [seeder.address])
  })
})

describeWith('libtorrent', 'libtorrent downloads from us', () => {
  test.each([
    ['', false],
    [', with encryption required', true],
  ])('the sample%s', async (_, encrypted) => {
    const { peerAddress } = await start()
    const directory = await download(sampleTorrentFile, peerAddress, encrypted)
    await expectOnDisk(directory, { files: sampleFiles })
  })

  test('the sample by magnet, with the metadata from us', async () => {
    const { peerAddress } = await start()
    const magnet = `magnet:?xt=urn:btih:${sampleInfoHash}`
    const directory = await download(magnet, peerAddress)
    await expectOnDisk(directory, { files: sampleFiles })
  })

  test('a torrent that we hold in --data, once its seeder is gone', async () => {
    const content = manyFiles(16)
    const seeder = await seed(content)
    const data = await temporaryDirectory()
    const server = await start(['--data', data])
    await expectWholeAndRanges(server, content, [seeder.address])
    await seeder.stop()
    const directory = await temporaryDirectory()
    const torrent = await writeContent({ ...content, files: [] }, directory)
    const copy = await download(torrent, server.peerAddress)
    await expectOnDisk(copy, content)
  })
})
