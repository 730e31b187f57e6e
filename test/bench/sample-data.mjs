// A file of random bytes and its .torrent, the same ones every time.
import { createCipheriv, createHash } from 'node:crypto'
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

const PIECE = 1024 * 1024

export function makeSample(directory, megabytes) {
  const file = join(directory, 'bench.bin')
  const torrent = join(directory, 'bench.torrent')
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16))
  const zeros = Buffer.alloc(PIECE)
  const whole = createHash('sha256')
  const hashes = []
  const fd = openSync(file, 'w')
  for (let piece = 0; piece < megabytes; piece++) {
    const bytes = cipher.update(zeros)
    whole.update(bytes)
    hashes.push(createHash('sha1').update(bytes).digest())
    writeSync(fd, bytes)
  }
  closeSync(fd)
  const length = megabytes * PIECE
  const pieces = Buffer.concat(hashes)
  const head = `d4:infod6:lengthi${length}e4:name9:bench.bin12:piece lengthi${PIECE}e6:pieces${pieces.length}:`
  writeFileSync(torrent, Buffer.concat([Buffer.from(head), pieces, Buffer.from('ee')]))
  return { file, torrent, length, sha256: whole.digest('hex') }
}
