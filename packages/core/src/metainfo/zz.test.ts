import fc from 'fast-check'
import { test } from 'vitest'
import { hybridTorrent, v2Torrent } from '../../../../test/support/libtorrent-samples.ts'
import { mutationsOf } from '../../../../test/support/property.ts'
import { decodeBencode, encodeBencode } from './bencode.ts'
import { parseMetainfo, metainfoFromInfo } from './metainfo.ts'
import { parseMagnet } from './magnet.ts'
import { diskPaths } from './disk-paths.ts'
test('x', () => {
  const codes = {}
  fc.assert(fc.property(mutationsOf([hybridTorrent, v2Torrent]), (b) => { let c; try { c = parseMetainfo(b).version } catch (e) { c = e.code + ' ' + (e.code==='ISTHMUS_METAINFO_INVALID' ? e.message.slice(0,30):'') } codes[c] = (codes[c] ?? 0) + 1 }), { numRuns: 20000 })
  console.log(codes)
  const M = 8 * 1024 * 1024
  const tm = (n, f) => { globalThis.gc?.(); const m0 = process.memoryUsage().rss; const t = performance.now(); let r; try { r = f() } catch (e) { r = e.code + ' ' + e.message } ; console.log(n, Math.round(performance.now() - t), 'ms', Math.round((process.memoryUsage().rss - m0) / 1e6), 'MB', typeof r === 'string' ? r : 'ok'); return r }
  const B = (s) => Buffer.from(s, 'latin1')
  tm('de x', () => decodeBencode(B('l' + 'de'.repeat(740_000) + 'e')))
  tm('le x', () => decodeBencode(B('l' + 'le'.repeat(1_490_000) + 'e')))
  tm('0: x', () => decodeBencode(B('l' + '0:'.repeat(1_490_000) + 'e')))
  tm('i0e x', () => decodeBencode(B('l' + 'i0e'.repeat(2_790_000) + 'e')))
  const dict = B('d' + Array.from({ length: 700_000 }, (_, i) => '7:' + (1e6 + i) + 'i0e').join('') + 'e')
  tm('wide dict', () => decodeBencode(dict))
  tm('digits', () => decodeBencode(B('i' + '9'.repeat(M - 10) + 'e')))
  const comps = (n, i) => Array.from({ length: n }, (_, k) => k === 0 ? String(i) : 'a')
  const v1 = encodeBencode({ info: { name: 'd', 'piece length': 1, pieces: '', files: Array.from({ length: 25_000 }, (_, i) => ({ length: 0, path: comps(95, i) })) } })
  console.log(v1.length)
  tm('v1 95 comps x 25k', () => parseMetainfo(v1))
  const v1b = encodeBencode({ info: { name: 'd', 'piece length': 1, pieces: '', files: Array.from({ length: 10_000 }, (_, i) => ({ length: 0, path: comps(95, i) })) } })
  const m = tm('v1 95 comps x 10k', () => parseMetainfo(v1b))
  if (m.files) tm('disk', () => diskPaths(m.files.map((f) => f.path)))
  const v1c = encodeBencode({ info: { name: 'd'.repeat(250), 'piece length': 1, pieces: '', files: Array.from({ length: 100_000 }, (_, i) => ({ length: 0, path: ['some directory', 'file name ' + i + '.mkv'] })) } })
  const mc = tm('v1 100k files', () => parseMetainfo(v1c)); console.log(v1c.length)
  if (mc.files) tm('disk', () => diskPaths(mc.files.map((f) => f.path)))
  tm('announce', () => parseMetainfo(encodeBencode({ 'announce-list': Array(600_000).fill(['x:/b']), 'url-list': Array(400_000).fill('x'), info: { name: 'd', 'piece length': 1, pieces: '', length: 0 } })))
  // v2 layer
  const layer = new Uint8Array(M - 4096).fill(1)
  const n = layer.length / 32
  tm('v2 layer', () => parseMetainfo(encodeBencode({ info: { 'meta version': 2, name: 'd', 'piece length': 16384, 'file tree': { a: { '': { length: n * 16384, 'pieces root': new Uint8Array(32) } } } }, 'piece layers': new Map([['\0'.repeat(32), layer]]) })))
  tm('magnet', () => parseMagnet('magnet:?' + 'so=' + '1,'.repeat(4000) + '1&' ))
  tm('magnet2', () => parseMagnet('magnet:?xt=urn:btih:' + '0'.repeat(40) + '&tr=http://a'.repeat(700)))
  const tree = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => ['file' + i, { '': { length: 1, 'pieces root': new Uint8Array(32) } }]))
  const t2 = encodeBencode({ 'piece layers': {}, info: { 'meta version': 2, name: 'd', 'piece length': 16384, 'file tree': tree } })
  console.log(t2.length); const k = tm('v2 100k', () => parseMetainfo(t2)); if (k.layout) tm('ranges', () => { for (let i = 0; i < k.layout.pieceCount; i++) k.layout.pieceRange(i) })
}, 100000)
