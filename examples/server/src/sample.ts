import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type Client, FolderStorage, type Torrent } from '@isthmus/core'

/** Holds the folder that is served without any arguments, and its .torrent beside it. */
export const sampleDirectory = fileURLToPath(new URL('../sample', import.meta.url))

/** Seeds the sample, which is announced nowhere. */
export async function seedSample(client: Client): Promise<Torrent> {
  const torrentFile = new URL('../sample/isthmus-sample.torrent', import.meta.url)
  const storage = new FolderStorage({ directory: sampleDirectory })
  const torrent = await client.seed(await readFile(torrentFile), storage, { announce: false })
  await torrent.ready()
  return torrent
}
