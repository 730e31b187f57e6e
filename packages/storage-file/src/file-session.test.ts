import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, type IsthmusError } from '@isthmus/core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeTorrent, randomBytes } from '../../../test/support/torrents.ts'
import { FileSession } from './file-session.ts'
import { FileStorage } from './file-storage.ts'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'isthmus-session-'))
})

afterEach(async () => {
  await rm(directory, { recursive: true })
})

function createClient(): Client {
  return new Client({
    storage: new FileStorage({ directory }),
    session: new FileSession({ directory }),
    listen: { host: '127.0.0.1' },
  })
}

const records = () => readdir(join(directory, '.isthmus', 'session'))
const sample = (name: string) =>
  makeTorrent({ name, files: randomBytes(100_000, 1), pieceLength: 32_768 })

describe('FileSession', () => {
  test('a torrent that was added is there again after a restart, without the swarm', async () => {
    const { torrent, infoHash } = sample('kept.bin')
    await using first = createClient()
    await first.add(torrent, { announce: false })
    await first.close()

    await using second = createClient()
    expect(await second.restore()).toBe(1)
    const restored = second.get(infoHash)
    await restored?.ready()
    expect(restored?.files.map(({ path }) => path)).toEqual(['kept.bin'])
  })

  test('a magnet is remembered by its hash, name and trackers before its metadata is there', async () => {
    const { infoHash } = sample('magnet.bin')
    const tracker = 'http://192.0.2.1/announce'
    await using first = createClient()
    const uri = `magnet:?xt=urn:btih:${infoHash}&dn=magnet.bin&tr=${encodeURIComponent(tracker)}`
    await first.add(uri, { announce: false })
    await first.close()

    await using second = createClient()
    await second.restore()
    const restored = second.get(infoHash)
    expect(restored?.name).toBe('magnet.bin')
    expect(restored?.trackers.map(({ url }) => url)).toEqual([tracker])
  })

  test('a torrent that was removed is not there again', async () => {
    const { torrent, infoHash } = sample('removed.bin')
    await using first = createClient()
    await first.add(torrent, { announce: false })
    await first.remove(infoHash)
    await first.close()
    expect(await records()).toEqual([])
  })

  test('a record that makes no sense costs itself alone', async () => {
    const { torrent, infoHash } = sample('kept.bin')
    await using first = createClient()
    await first.add(torrent, { announce: false })
    await first.close()
    for (const [index, bytes] of ['', 'd', 'not bencode', 'd7:versioni1e6:hashes1:xe'].entries()) {
      const name = `${index}.torrent-record`
      await writeFile(join(directory, '.isthmus', 'session', name), bytes)
    }

    await using second = createClient()
    const warnings: IsthmusError[] = []
    second.on('warning', (error) => warnings.push(error))
    expect(await second.restore()).toBe(1)
    expect(second.get(infoHash)).toBeDefined()
    expect(warnings).toHaveLength(4)
  })

  test('what a caller seeds from a storage of its own is not remembered', async () => {
    const { torrent } = sample('own.bin')
    await using client = createClient()
    await client.add(torrent, {
      announce: false,
      storage: new FileStorage({ directory: join(directory, 'other') }),
    })
    await client.close()
    await using second = createClient()
    expect(await second.restore()).toBe(0)
  })

  test('a session that cannot be read is a warning, not a failure', async () => {
    await writeFile(join(directory, 'file'), '')
    await using client = new Client({
      session: new FileSession({ directory: join(directory, 'file') }),
      listen: { host: '127.0.0.1' },
    })
    const warnings: IsthmusError[] = []
    client.on('warning', (error) => warnings.push(error))
    expect(await client.restore()).toBe(0)
    expect(warnings).toHaveLength(1)
  })
})
