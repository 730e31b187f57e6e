import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ContentFile } from './content.ts'

const folder = fileURLToPath(new URL('../../examples/server/sample/', import.meta.url))
export const sampleTorrentFile = join(folder, 'isthmus-sample.torrent')

const torrent = readFileSync(sampleTorrentFile)

/** The .torrent has nothing but its info dictionary. */
export const sampleInfoHash = createHash('sha1')
  .update(torrent.subarray('d4:info'.length, -1))
  .digest('hex')

export const sampleTorrent: Uint8Array = torrent

/** What the repository ships, in the order of the .torrent. */
export const sampleFiles: readonly ContentFile[] = readdirSync(join(folder, 'isthmus-sample'), {
  recursive: true,
  withFileTypes: true,
})
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name))
  .map((file) => ({
    path: relative(folder, file).split(sep).join('/'),
    bytes: readFileSync(file),
  }))
  .sort((a, b) => (a.path < b.path ? -1 : 1))
