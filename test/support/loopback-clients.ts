import { Client, type ClientOptions } from '../../packages/core/src/client.ts'
import { formatPeerAddress } from '../../packages/core/src/net/peer-address.ts'
import { MemoryStorage } from '../../packages/core/src/storage/memory-storage.ts'
import type { Storage } from '../../packages/core/src/storage/storage.ts'
import type { Torrent } from '../../packages/core/src/torrent.ts'
import { endAfterTest } from './cleanup.ts'
import type { MadeTorrent } from './torrents.ts'

/** A client that listens on the loopback interface and asks no tracker; closed after the test. */
export function openClient(options: ClientOptions = {}): Client {
  const listen = { host: '127.0.0.1', ...options.listen }
  return endAfterTest(new Client({ trackers: false, ...options, listen }))
}

/** `host:port` of a client that listens. */
export function addressOf(client: Client): string {
  if (client.address === undefined) throw new Error('the client does not listen')
  return formatPeerAddress(client.address)
}

/** Seeds all pieces of a torrent, or only those that `has` names, from memory. */
export async function seed(
  client: Client,
  made: Pick<MadeTorrent, 'torrent' | 'content'>,
  has: (piece: number) => boolean = () => true,
): Promise<Torrent> {
  return client.seed(made.torrent, filledStorage(made.content, has))
}

/** A storage in memory that has pieces from the beginning. */
export function filledStorage(content: Uint8Array, has: (piece: number) => boolean): Storage {
  const storage = new MemoryStorage({ maxBytes: content.length + 1024 * 1024 })
  return {
    open: async (metainfo, options) => {
      const pieces = await storage.open(metainfo, options)
      for (let piece = 0; piece < metainfo.layout.pieceCount; piece++) {
        if (!has(piece)) continue
        const { start, end } = metainfo.layout.pieceRange(piece)
        await pieces.write?.(start, content.slice(start, end))
        await pieces.commit?.(piece)
      }
      return pieces
    },
  }
}
