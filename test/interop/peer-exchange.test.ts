import { AddressPolicy, EgressGuard, type Torrent } from '@isthmus/core'
import { expect, test } from 'vitest'
import { endAfterTest, temporaryDirectory } from '../support/cleanup.ts'
import { describeWith } from '../support/clients.ts'
import { fewFiles, writeContent } from '../support/content.ts'
import { expectOnDisk } from '../support/expectations.ts'
import { Libtorrent } from '../support/libtorrent.ts'
import { addressOf, openClient } from '../support/loopback-clients.ts'

const content = fewFiles(11)
const local = () => new EgressGuard({ policy: new AddressPolicy({ allow: ['127.0.0.0/8'] }) })

async function seeder(): Promise<Libtorrent> {
  const directory = await temporaryDirectory()
  const torrent = await writeContent(content, directory)
  return endAfterTest(await Libtorrent.seed({ torrent, directory }))
}

async function hasPeers(torrent: Torrent, count: number): Promise<void> {
  while (torrent.peerCount < count) {
    await new Promise<void>((resolve) => torrent.once('peer', () => resolve()))
  }
}

describeWith('libtorrent', 'peer exchange with libtorrent', () => {
  test('two of us that know nobody but libtorrent find each other', async () => {
    const { address } = await seeder()
    const torrents = await Promise.all(
      [1, 2].map(() => openClient({ egress: local() }).add(content.torrent, { peers: [address] })),
    )
    await Promise.all(torrents.map((torrent) => hasPeers(torrent, 2)))
  })

  test('libtorrent finds a seeder that we tell it of', async () => {
    const { address } = await seeder()
    const between = openClient({ egress: local() })
    const torrent = await between.add(content.torrent, { peers: [address] })
    await hasPeers(torrent, 1)
    const directory = await temporaryDirectory()
    const file = await writeContent({ ...content, files: [] }, directory)
    const peers = [addressOf(between)]
    const downloader = await Libtorrent.download({ torrent: file, directory, peers })
    await endAfterTest(downloader).done()
    await expectOnDisk(directory, content)
    expect(torrent.uploaded).toBe(0)
  })
})
