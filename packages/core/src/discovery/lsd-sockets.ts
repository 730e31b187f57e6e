import { createSocket, type Socket } from 'node:dgram'
import { BlockList } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { PeerAddress } from '../net/peer-address.ts'

export interface LsdSocketsOptions {
  readonly port: number
  /** Names of network interfaces; undefined: all that lead out of the machine, else loopback. */
  readonly interfaces: readonly string[] | undefined
  readonly onMessage: (datagram: Uint8Array, from: PeerAddress) => void
}

// BEP 14.
const GROUPS = { 4: '239.192.152.143', 6: 'ff15::efc0:988f' } as const

/**
 * One multicast socket per network interface and family. Only datagrams from the networks that these
 * interfaces are on are passed on, since what comes in is believed by where it comes from.
 */
export class LsdSockets {
  readonly #options: LsdSocketsOptions
  readonly #members = new Map<string, { readonly link: Link; readonly socket: Socket }>()
  #neighbours = new BlockList()
  #closed = false

  constructor(options: LsdSocketsOptions) {
    this.#options = options
  }

  /**
   * Joins the groups on every interface that came up, and leaves those that went. One call at a time.
   * Rejects with what went wrong where nothing was joined.
   */
  async open(): Promise<void> {
    const links = linksOf(this.#options.interfaces)
    this.#neighbours = neighboursOf(links)
    const wanted = new Set(links.map(({ key }) => key))
    for (const key of [...this.#members.keys()]) if (!wanted.has(key)) this.#leave(key)
    const missing = links.filter(({ key }) => !this.#members.has(key))
    const joined = await Promise.allSettled(missing.map((link) => this.#join(link)))
    if (this.#members.size > 0) return
    throw reasonOf(joined) ?? new Error('there is no network interface')
  }

  /** Rejects with what went wrong where it went out nowhere. */
  async send(encode: (host: string) => Uint8Array): Promise<void> {
    const { port } = this.#options
    const sending = [...this.#members.values()].map(({ link: { family }, socket }) => {
      const host = family === 4 ? GROUPS[4] : `[${GROUPS[6]}]`
      return sent(socket, encode(`${host}:${port}`), port, GROUPS[family])
    })
    const results = await Promise.allSettled(sending)
    if (results.some(({ status }) => status === 'fulfilled')) return
    throw reasonOf(results) ?? new Error('there is no network interface')
  }

  async close(): Promise<void> {
    this.#closed = true
    const sockets = [...this.#members.values()].map(({ socket }) => socket)
    this.#members.clear()
    await Promise.all(sockets.map(closed))
  }

  async #join(link: Link): Promise<void> {
    const { key, family, name } = link
    const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6', reuseAddr: true })
    socket.unref()
    socket.on('message', (datagram, { address, port }) => {
      if (this.#isNeighbour(address)) this.#options.onMessage(datagram, { host: address, port })
    })
    try {
      await bound(socket, this.#options.port, GROUPS[family])
      if (this.#closed) throw new Error('closed')
      socket.addMembership(GROUPS[family], name)
      socket.setMulticastInterface(name)
      // Other programs on this machine hear us too; the cookie tells us what is our own.
      socket.setMulticastLoopback(true)
    } catch (cause) {
      await closed(socket)
      throw cause
    }
    this.#members.set(key, { link, socket })
    socket.on('error', () => this.#leave(key))
  }

  #leave(key: string): void {
    const member = this.#members.get(key)
    this.#members.delete(key)
    if (member !== undefined) void closed(member.socket)
  }

  /** An address with a zone (IPv6 link-local) is no address that a peer can be dialed at. */
  #isNeighbour(address: string): boolean {
    const family = address.includes(':') ? 'ipv6' : 'ipv4'
    return !address.includes('%') && this.#neighbours.check(address, family)
  }
}

/** One network interface in one family. */
interface Link {
  readonly key: string
  readonly family: 4 | 6
  /** As `addMembership` takes it. */
  readonly name: string
  readonly networks: readonly { readonly address: string; readonly prefix: number }[]
}

function linksOf(names: readonly string[] | undefined): Link[] {
  const links = Object.entries(networkInterfaces()).flatMap(([name, infos = []]) => {
    const isInternal = infos.some(({ internal }) => internal)
    const networks = (family: string) =>
      infos
        .filter((info) => info.family === family)
        .map(({ address, cidr }) => ({ address, prefix: Number(cidr?.split('/')[1] ?? 128) }))
    const [ipv4, ipv6] = [networks('IPv4'), networks('IPv6')]
    const found: (Link & { readonly isInternal: boolean })[] = []
    const [first] = ipv4
    if (first !== undefined) {
      const link = { key: `4 ${first.address}`, family: 4, name: first.address } as const
      found.push({ ...link, networks: ipv4, isInternal })
    }
    // Loopback has no route for IPv6 multicast as a rule.
    if (ipv6.length > 0 && !isInternal) {
      const zone = process.platform === 'win32' ? scopeOf(infos) : name
      found.push({ key: `6 ${zone}`, family: 6, name: `::%${zone}`, networks: ipv6, isInternal })
    }
    return found.map((link) => ({ ...link, interface: name }))
  })
  if (names !== undefined) return links.filter((link) => names.includes(link.interface))
  const outward = links.filter(({ isInternal }) => !isInternal)
  return outward.length > 0 ? outward : links
}

function scopeOf(infos: readonly { readonly scopeid?: number | undefined }[]): string {
  return `${infos.find(({ scopeid = 0 }) => scopeid !== 0)?.scopeid ?? 0}`
}

function neighboursOf(links: readonly Link[]): BlockList {
  const list = new BlockList()
  for (const { family, networks } of links) {
    for (const { address, prefix } of networks) list.addSubnet(address, prefix, `ipv${family}`)
  }
  return list
}

async function bound(socket: Socket, port: number, group: string): Promise<void> {
  try {
    // Bound to the group, it hears nothing that was sent to this machine alone.
    await binding(socket, port, group)
  } catch (error) {
    // Windows binds to addresses of its own only.
    if ((error as NodeJS.ErrnoException).code !== 'EADDRNOTAVAIL') throw error
    await binding(socket, port, undefined)
  }
}

function binding(socket: Socket, port: number, address: string | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error) => {
      socket.off('listening', onListening)
      reject(error)
    }
    const onListening = () => {
      socket.off('error', onError)
      resolve()
    }
    socket.once('error', onError)
    socket.once('listening', onListening)
    socket.bind(address === undefined ? { port } : { port, address })
  })
}

function sent(socket: Socket, bytes: Uint8Array, port: number, group: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(bytes, port, group, (error) => (error === null ? resolve() : reject(error)))
  })
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.close(() => resolve()))
}

function reasonOf(results: readonly PromiseSettledResult<unknown>[]): unknown {
  return results.find((result) => result.status === 'rejected')?.reason
}
