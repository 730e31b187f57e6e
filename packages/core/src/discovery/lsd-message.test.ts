import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mutationsOf, propertyOptions } from '../../../../test/support/property.ts'
import {
  encodeLsdMessage,
  MAX_LSD_BYTES,
  MAX_LSD_INFO_HASHES,
  parseLsdMessage,
} from './lsd-message.ts'

const host = '[ff15::efc0:988f]:6771'
const hash = 'aa'.repeat(20)
const parse = (text: string) => parseLsdMessage(Buffer.from(text, 'latin1'))
const announce = (...headers: string[]) =>
  `BT-SEARCH * HTTP/1.1\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n\r\n`

describe('an announce of BEP 14', () => {
  test('is written as BEP 14 shows it', () => {
    const message = { port: 6881, infoHashes: [hash], cookie: 'c' }
    const text = Buffer.from(encodeLsdMessage('239.192.152.143:6771', message)).toString('latin1')
    expect(text).toBe(
      `BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\nInfohash: ${hash}\r\ncookie: c\r\n\r\n\r\n`,
    )
  })

  test('comes back as it was', () => {
    const infoHash = fc
      .uint8Array({ minLength: 20, maxLength: 20 })
      .map((bytes) => Buffer.from(bytes).toString('hex'))
    const message = fc.record({
      port: fc.integer({ min: 1, max: 65_535 }),
      infoHashes: fc.array(infoHash, { minLength: 1, maxLength: MAX_LSD_INFO_HASHES }),
      cookie: fc.option(infoHash, { nil: undefined }),
    })
    fc.assert(
      fc.property(message, ({ port, infoHashes, cookie }) => {
        const bytes = encodeLsdMessage(host, { port, infoHashes, cookie })
        const parsed = parseLsdMessage(bytes)
        if (bytes.length > MAX_LSD_BYTES || parsed?.port !== port || parsed.cookie !== cookie) {
          throw new Error('too long, or another message')
        }
        const unique = [...new Set(infoHashes)]
        if (parsed.infoHashes.join() !== unique.join()) throw new Error('other info hashes')
      }),
      propertyOptions('LSD round trip'),
    )
  }, 60_000)

  test('may have one line break at its end, headers in any case and unknown ones', () => {
    const text = `BT-SEARCH * HTTP/1.1\r\nHOST:x\r\nX-New: y\r\nport:  1 \r\ninfoHash: ${'AB'.repeat(20)}\r\n\r\n`
    expect(parse(text)).toEqual({ port: 1, infoHashes: ['ab'.repeat(20)], cookie: undefined })
  })

  test('names a torrent once', () => {
    const text = announce('Port: 1', `Infohash: ${hash}`, `Infohash: ${hash.toUpperCase()}`)
    expect(parse(text)?.infoHashes).toEqual([hash])
  })

  test.each([
    ['', 'nothing'],
    [announce('Port: 1'), 'no info hash'],
    [announce(`Infohash: ${hash}`), 'no port'],
    [announce('Port: 0', `Infohash: ${hash}`), 'port 0'],
    [announce('Port: 65536', `Infohash: ${hash}`), 'a port too large'],
    [announce('Port: 0x10', `Infohash: ${hash}`), 'a hexadecimal port'],
    [announce('Port: 1', 'Port: 2', `Infohash: ${hash}`), 'two ports'],
    [announce('Port: 1', `Infohash: ${hash}0`), 'a long info hash'],
    [announce('Port: 1', `Infohash: ${hash}`, 'no header'), 'a line that is no header'],
    [announce('Port: 1', `Infohash: ${hash}`, 'x: \0'), 'a control character'],
    [announce('Port: 1', `Infohash: ${hash}`).slice(0, -4), 'no end'],
    [announce('Port: 1', `Infohash: ${hash}`).replace('BT-', 'M-'), 'another method'],
    [announce('Port: 1', ...new Array<string>(30).fill(`Infohash: ${hash}`)), 'too many bytes'],
  ])('%j is none: %s', (text) => {
    expect(parse(text)).toBeUndefined()
  })

  test('is all that comes out of any input', () => {
    const samples = [
      encodeLsdMessage(host, { port: 6881, infoHashes: [hash, 'bb'.repeat(20)], cookie: 'c' }),
    ]
    fc.assert(
      fc.property(fc.oneof(mutationsOf(samples), fc.uint8Array({ maxLength: 200 })), (bytes) => {
        const message = parseLsdMessage(bytes)
        if (message === undefined) return
        const { port, infoHashes } = message
        const isBounded =
          port >= 1 && port <= 65_535 && infoHashes.length <= MAX_LSD_INFO_HASHES + 2
        if (!isBounded || infoHashes.some((found) => !/^[0-9a-f]{40}$/.test(found))) {
          throw new Error('out of bounds')
        }
      }),
      propertyOptions('LSD mutations'),
    )
  }, 60_000)
})
