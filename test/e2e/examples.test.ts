import { dirname } from 'node:path'
import { Client, FolderStorage, formatPeerAddress } from '@isthmus/core'
import { storageConformance } from '@isthmus/core/conformance'
import { describe, expect, test } from 'vitest'
import { MapStorage } from '../../examples/custom-storage.ts'
import { streamTorrent } from '../../examples/stream-torrent.ts'
import { endAfterTest } from '../support/cleanup.ts'
import { sampleFiles, sampleTorrent, sampleTorrentFile } from '../support/sample.ts'

const listen = { host: '127.0.0.1' }

/** Seeds the sample; answers where. */
async function seedSample(): Promise<string> {
  const client = endAfterTest(new Client({ listen }))
  const directory = dirname(sampleTorrentFile)
  await client.seed(sampleTorrent, new FolderStorage({ directory }))
  return client.address === undefined ? '' : formatPeerAddress(client.address)
}

describe('stream-torrent', () => {
  test('writes the largest file of the torrent', async () => {
    const peers = [await seedSample()]
    const largest = sampleFiles.reduce((a, b) => (b.bytes.length > a.bytes.length ? b : a))
    const chunks: Uint8Array[] = []
    const sink = async (chunk: Uint8Array) => void chunks.push(chunk)
    const path = await streamTorrent(sampleTorrent, sink, { peers, listen })
    expect(path).toBe(largest.path)
    expect(Buffer.concat(chunks).compare(largest.bytes)).toBe(0)
  })
})

describe('custom-storage', () => {
  const setup = async () => {
    const storage = new MapStorage()
    return { open: async () => storage }
  }
  const traits = { persists: true, without: ['evict', 'destroy', 'capacity'] } as const
  for (const { name, run } of storageConformance(setup, traits)) test(name, run)

  test('takes a download, and has it still for the next client', async () => {
    const storage = new MapStorage()
    const peers = [await seedSample()]
    const first = endAfterTest(new Client({ storage, listen }))
    await (await first.add(sampleTorrent, { peers })).download()
    await first.close()
    const second = endAfterTest(new Client({ storage, listen }))
    const torrent = await second.add(sampleTorrent)
    await torrent.ready()
    expect(torrent.progress).toBe(1)
  })
})
