/** An announce on the local network (BEP 14). */
export interface LsdMessage {
  /** Where the sender listens for peers. */
  readonly port: number
  /** 40 lower-case hexadecimal digits each. */
  readonly infoHashes: readonly string[]
  /** Set by the sender, to know its own announces again. */
  readonly cookie?: string | undefined
}

/** BEP 14: longer datagrams might be split. */
export const MAX_LSD_BYTES = 1400
/** What fits into 1,400 bytes with everything else. */
export const MAX_LSD_INFO_HASHES = 24

const REQUEST_LINE = 'BT-SEARCH * HTTP/1.1'
const MAX_COOKIE_CHARACTERS = 64

/** @param host - the multicast group and port that it is sent to */
export function encodeLsdMessage(host: string, message: LsdMessage): Uint8Array {
  const { port, infoHashes, cookie } = message
  const lines = [
    REQUEST_LINE,
    `Host: ${host}`,
    `Port: ${port}`,
    ...infoHashes.map((infoHash) => `Infohash: ${infoHash}`),
    ...(cookie === undefined ? [] : [`cookie: ${cookie}`]),
  ]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n\r\n`, 'latin1')
}

/** Undefined for whatever is no announce of BEP 14; headers that it does not know are skipped. Never throws. */
export function parseLsdMessage(datagram: Uint8Array): LsdMessage | undefined {
  if (datagram.length > MAX_LSD_BYTES) return undefined
  const text = Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength)
  const [requestLine, ...lines] = text.toString('latin1').split('\r\n')
  // What follows the last line break is not a line.
  const end = lines.slice(0, -1).indexOf('')
  if (requestLine !== REQUEST_LINE || end === -1) return undefined
  const ports: string[] = []
  const infoHashes = new Set<string>()
  let cookie: string | undefined
  for (const line of lines.slice(0, end)) {
    const [, name, value] = /^([!-9;-~]{1,32}):[ \t]*([ -~]{0,128}?)[ \t]*$/.exec(line) ?? []
    if (name === undefined || value === undefined) return undefined
    const header = name.toLowerCase()
    if (header === 'port') ports.push(value)
    if (header === 'cookie') cookie = value.slice(0, MAX_COOKIE_CHARACTERS)
    if (header !== 'infohash') continue
    if (!/^[0-9a-f]{40}$/i.test(value)) return undefined
    infoHashes.add(value.toLowerCase())
  }
  const port = portOf(ports)
  if (port === undefined || infoHashes.size === 0) return undefined
  return { port, infoHashes: [...infoHashes], cookie }
}

function portOf([text, ...more]: readonly string[]): number | undefined {
  if (text === undefined || more.length > 0 || !/^[1-9]\d{0,4}$/.test(text)) return undefined
  const port = Number(text)
  return port <= 65_535 ? port : undefined
}
