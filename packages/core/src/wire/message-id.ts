/** Message ids of BEP 3, 5, 6, 10 and 52. */
export const MessageId = Object.freeze({
  choke: 0,
  unchoke: 1,
  interested: 2,
  notInterested: 3,
  have: 4,
  bitfield: 5,
  request: 6,
  piece: 7,
  cancel: 8,
  port: 9,
  suggest: 13,
  haveAll: 14,
  haveNone: 15,
  reject: 16,
  allowedFast: 17,
  extended: 20,
  hashRequest: 21,
  hashes: 22,
  hashReject: 23,
})

/** How long each message must be, its id included: exactly that, or at least where `min` is given. */
const EXACT = new Map<number, number>([
  [MessageId.choke, 1],
  [MessageId.unchoke, 1],
  [MessageId.interested, 1],
  [MessageId.notInterested, 1],
  [MessageId.have, 5],
  [MessageId.request, 13],
  [MessageId.cancel, 13],
  [MessageId.port, 3],
  [MessageId.suggest, 5],
  [MessageId.haveAll, 1],
  [MessageId.haveNone, 1],
  [MessageId.reject, 13],
  [MessageId.allowedFast, 5],
  [MessageId.hashRequest, 49],
  [MessageId.hashReject, 49],
])

const MINIMUM = new Map<number, number>([
  [MessageId.bitfield, 2],
  [MessageId.piece, 10],
  [MessageId.extended, 2],
  [MessageId.hashes, 49 + 32],
])

/** Whether a message of this id may be `length` bytes long, its id included. */
export function isMessageLength(id: number, length: number): boolean {
  const exact = EXACT.get(id)
  if (exact !== undefined) return length === exact
  return length >= (MINIMUM.get(id) ?? 1)
}

/** Whether a message of this id may be longer than a block and its header. */
export function mayBeLarge(id: number): boolean {
  return id === MessageId.bitfield || id === MessageId.extended
}
