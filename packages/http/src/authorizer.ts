/** What a request wants to do. */
export type AccessAction =
  /** Read bytes of a file, or ask for its headers. */
  | 'read'
  /** See which torrents there are, or how one of them is doing. */
  | 'list'
  /** Add a torrent, or peers to one. */
  | 'add'
  /** Remove a torrent. */
  | 'remove'

/** One request, as an {@link Authorizer} sees it. */
export interface Access {
  readonly action: AccessAction
  /** As in the request, in lower case; absent where it concerns no single torrent. */
  readonly infoHash?: string | undefined
  /** The file's path in the torrent, for `read`. */
  readonly path?: string | undefined
  readonly method: string
  readonly headers: Headers
  readonly query: URLSearchParams
  readonly remoteAddress?: string | undefined
}

/** Leave to do what was asked. */
export interface Grant {
  /**
   * Nobody had to show anything for it, so shared caches may keep what it opens.
   *
   * @defaultValue false
   */
  readonly public?: boolean | undefined
}

/** A grant, or anything else denies: forgetting to return denies. What it throws denies too. */
export type Authorizer = (access: Access) => Grant | null | Promise<Grant | null>

const everybody: Grant = Object.freeze({ public: true })

/** Lets everybody do everything: for a server that only trusted programs reach. */
export const allowAll: Authorizer = () => everybody
