/**
 * Torrents made by libtorrent 2.0.8, so that what we read is not only what we wrote. Pieces are 16 KiB;
 * byte `i` of a file is `(i * 7 + (i >> 8)) & 255`.
 */

/** `sample`: a.txt 50,000 bytes, dir/b.bin 16,384, dir/c 100, empty 0; in between padding. */
export const hybridTorrent = fromBase64(
  'ZDg6YW5ub3VuY2UzMTpodHRwOi8vdHJhY2tlci5leGFtcGxlL2Fubm91bmNlNDppbmZvZDk6ZmlsZSB0cmVlZDU6YS50' +
    'eHRkMDpkNjpsZW5ndGhpNTAwMDBlMTE6cGllY2VzIHJvb3QzMjpty0fX8TY7FdO2xm6ylJShae1KHXBBateq/PgGBUf2' +
    '1GVlMzpkaXJkNTpiLmJpbmQwOmQ2Omxlbmd0aGkxNjM4NGUxMTpwaWVjZXMgcm9vdDMyOlJSq66Sg2yqEi+NbAeKokh9' +
    'wysX4bIEp8wCKAn668GSZWUxOmNkMDpkNjpsZW5ndGhpMTAwZTExOnBpZWNlcyByb290MzI6Vv7ksSsoDqHnwbVQACux' +
    'izQsy9cinNSxR+oHqhppEpRlZWU1OmVtcHR5ZDA6ZDY6bGVuZ3RoaTBlZWVlNTpmaWxlc2xkNjpsZW5ndGhpNTAwMDBl' +
    'NDpwYXRobDU6YS50eHRlZWQ0OmF0dHIxOnA2Omxlbmd0aGkxNTUzNmU0OnBhdGhsNDoucGFkNToxNTUzNmVlZDY6bGVu' +
    'Z3RoaTE2Mzg0ZTQ6cGF0aGwzOmRpcjU6Yi5iaW5lZWQ2Omxlbmd0aGkxMDBlNDpwYXRobDM6ZGlyMTpjZWVkNDphdHRy' +
    'MTpwNjpsZW5ndGhpMTYyODRlNDpwYXRobDQ6LnBhZDU6MTYyODRlZWQ2Omxlbmd0aGkwZTQ6cGF0aGw1OmVtcHR5ZWVl' +
    'MTI6bWV0YSB2ZXJzaW9uaTJlNDpuYW1lNjpzYW1wbGUxMjpwaWVjZSBsZW5ndGhpMTYzODRlNjpwaWVjZXMxMjA6kME0' +
    'MC/C3Eq4Vg+MNgtBEw4tnAe8gCJ4flMndPxyyfiZK12JkhfqkplaX+ffqSKYkAPwIx5ckX3Q7LP0P+zQ97qC482Mk/Be' +
    'LBIv9mSHP8qQwTQwL8LcSrhWD4w2C0ETDi2cBx4s1qb28cuK9Tz6FcVGlaoxj3/LZTEyOnBpZWNlIGxheWVyc2QzMjpt' +
    'y0fX8TY7FdO2xm6ylJShae1KHXBBateq/PgGBUf21DEyODpSUquukoNsqhIvjWwHiqJIfcMrF+GyBKfMAigJ+uvBkl84' +
    'WMadhd0lx0KTtd2Ibju4QHo06z45ni+nPMiJU4LhQr/us5wgy9SSDsQFluot3K+pa9A2KR/2d0dD82YF8T/Bw61HqDZU' +
    'SpcdBJrIjTwtLcv5BEu3SL2+ETe8gc14uWVl',
)

/** `one.bin`: 70,000 bytes. */
export const v2Torrent = fromBase64(
  'ZDg6YW5ub3VuY2UzMTpodHRwOi8vdHJhY2tlci5leGFtcGxlL2Fubm91bmNlNDppbmZvZDk6ZmlsZSB0cmVlZDc6b25l' +
    'LmJpbmQwOmQ2Omxlbmd0aGk3MDAwMGUxMTpwaWVjZXMgcm9vdDMyOnWkPY7LjMNtBTcdLrPEPixadpS9B7QrzG79gVH5' +
    '0bRfZWVlMTI6bWV0YSB2ZXJzaW9uaTJlNDpuYW1lNzpvbmUuYmluMTI6cGllY2UgbGVuZ3RoaTE2Mzg0ZWUxMjpwaWVj' +
    'ZSBsYXllcnNkMzI6daQ9jsuMw20FNx0us8Q+LFp2lL0HtCvMbv2BUfnRtF8xNjA6UlKrrpKDbKoSL41sB4qiSH3DKxfh' +
    'sgSnzAIoCfrrwZJfOFjGnYXdJcdCk7XdiG47uEB6NOs+OZ4vpzzIiVOC4UK/7rOcIMvUkg7EBZbqLdyvqWvQNikf9ndH' +
    'Q/NmBfE/cj1yjEQl6sPxcuH8KK8SCvzwMt7CVLJk1iCTaukNo3wMSswvCVwXaFg7ca0QhvPZJ20OSNTdMxctYN6YGBJG' +
    'zWVl',
)

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'base64'))
}
