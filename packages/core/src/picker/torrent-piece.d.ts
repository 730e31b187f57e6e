// The part of torrent-piece 4.0.1 that `piece-blocks.ts` leans on; the package has no types.
declare module 'torrent-piece' {
  export default class Piece {
    constructor(length: number)
    /** The next free block, or -1. */
    reserve(): number
    /** Gives a reserved block back; the caller sees to it that this happens once per reservation. */
    cancel(block: number): void
  }
}
