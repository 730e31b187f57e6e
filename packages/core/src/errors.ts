/**
 * Every code that an {@link IsthmusError} of this project carries: `ISTHMUS_<SUBJECT>_<PROBLEM>`.
 * Match on the code, never on the message.
 */
export type ErrorCode =
  // what somebody handed in
  | 'ISTHMUS_BENCODE_INVALID'
  | 'ISTHMUS_METAINFO_INVALID'
  | 'ISTHMUS_METAINFO_UNSUPPORTED'
  | 'ISTHMUS_METAINFO_TOO_LARGE'
  | 'ISTHMUS_MAGNET_INVALID'
  | 'ISTHMUS_INFO_HASH_INVALID'
  | 'ISTHMUS_PATH_UNSAFE'
  | 'ISTHMUS_PEER_ADDRESS_INVALID'
  | 'ISTHMUS_URL_INVALID'
  // what is or is not there
  | 'ISTHMUS_TORRENT_UNKNOWN'
  | 'ISTHMUS_TORRENT_REMOVED'
  | 'ISTHMUS_TORRENT_LIMIT'
  | 'ISTHMUS_FILE_UNKNOWN'
  | 'ISTHMUS_METADATA_MISSING'
  | 'ISTHMUS_PIECE_MISSING'
  | 'ISTHMUS_CLIENT_CLOSED'
  // the swarm
  | 'ISTHMUS_WIRE_PROTOCOL'
  | 'ISTHMUS_WIRE_CLOSED'
  | 'ISTHMUS_WIRE_TIMEOUT'
  | 'ISTHMUS_SWARM_POISONED'
  | 'ISTHMUS_SWARM_TIMEOUT'
  | 'ISTHMUS_METADATA_TIMEOUT'
  // the world outside
  | 'ISTHMUS_EGRESS_DENIED'
  | 'ISTHMUS_FETCH_FAILED'
  | 'ISTHMUS_FETCH_STATUS'
  | 'ISTHMUS_FETCH_TOO_LARGE'
  | 'ISTHMUS_TRACKER_FAILED'
  | 'ISTHMUS_DISCOVERY_FAILED'
  | 'ISTHMUS_LISTEN_FAILED'
  // storage
  | 'ISTHMUS_STORAGE_FAILED'
  | 'ISTHMUS_STORAGE_FULL'
  | 'ISTHMUS_STORAGE_CLOSED'
  | 'ISTHMUS_STORAGE_READ_ONLY'
  | 'ISTHMUS_HASH_FAILED'
  | 'ISTHMUS_SESSION_INVALID'
  // what the HTTP handler refuses
  | 'ISTHMUS_REQUEST_INVALID'
  | 'ISTHMUS_REQUEST_TARGET'
  | 'ISTHMUS_REQUEST_METHOD'
  | 'ISTHMUS_REQUEST_TOO_LARGE'
  | 'ISTHMUS_REQUEST_TYPE'
  | 'ISTHMUS_REQUEST_PRECONDITION'
  | 'ISTHMUS_RANGE_UNSATISFIABLE'
  | 'ISTHMUS_ROUTE_UNKNOWN'
  | 'ISTHMUS_ACCESS_DENIED'
  | 'ISTHMUS_INTERNAL'
  // configuration of a server
  | 'ISTHMUS_CONFIG_INVALID'
  | 'ISTHMUS_CONFIG_UNSUPPORTED'
  // a conformance suite found a broken promise
  | 'ISTHMUS_CONFORMANCE_FAILED'

/** The one error class of the project. The raw failure, where there was one, is the `cause`. */
export class IsthmusError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'IsthmusError'
    this.code = code
  }
}

/** Whether `error` is one of ours, and of this code where one is given. */
export function isIsthmusError(error: unknown, code?: ErrorCode): error is IsthmusError {
  return error instanceof IsthmusError && (code === undefined || error.code === code)
}
