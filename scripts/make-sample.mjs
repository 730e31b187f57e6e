// Writes examples/server/sample/isthmus-sample.torrent from the folder beside it: version 1, 32 KiB pieces,
// no trackers, no date, so that the same files always make the same bytes.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { root } from './build.mjs'

const pieceLength = 32 * 1024
const name = 'isthmus-sample'
const folder = join(root, 'examples/server/sample', name)
const torrentFile = `${folder}.torrent`

const files = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep))
  .sort((a, b) => Buffer.compare(Buffer.from(a.join('/')), Buffer.from(b.join('/'))))
  .map((path) => ({ path, bytes: readFileSync(join(folder, ...path)) }))

const info = {
  files: files.map(({ path, bytes }) => ({ length: bytes.length, path })),
  name,
  'piece length': pieceLength,
  pieces: hashPieces(Buffer.concat(files.map(({ bytes }) => bytes))),
}
writeFileSync(torrentFile, bencode({ info }))
const infoHash = createHash('sha1').update(bencode(info)).digest('hex')
console.log(`${relative(root, torrentFile)}: ${files.length} files, info hash ${infoHash}`)

function hashPieces(bytes) {
  const hashes = []
  for (let start = 0; start < bytes.length; start += pieceLength) {
    const piece = bytes.subarray(start, start + pieceLength)
    hashes.push(createHash('sha1').update(piece).digest())
  }
  return Buffer.concat(hashes)
}

/** Enough of BEP 3 to write a .torrent. */
function bencode(value) {
  if (typeof value === 'number') return Buffer.from(`i${value}e`)
  if (typeof value === 'string') return bencode(Buffer.from(value))
  if (Buffer.isBuffer(value)) return Buffer.concat([Buffer.from(`${value.length}:`), value])
  const isList = Array.isArray(value)
  const members = isList
    ? value.map(bencode)
    : Object.keys(value)
        .sort()
        .flatMap((key) => [bencode(key), bencode(value[key])])
  return Buffer.concat([Buffer.from(isList ? 'l' : 'd'), ...members, Buffer.from('e')])
}
