import { AddressPolicy } from '@isthmus/core'
import * as v from 'valibot'

const unitBytes = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }

/** A number, also as text: flags and environment variables have nothing else. */
const number = v.union(
  [v.number(), v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number))],
  'must be a whole number',
)

const port = v.pipe(
  number,
  v.integer('must be a whole number'),
  v.minValue(0, 'must be 0 to 65535'),
  v.maxValue(65_535, 'must be 0 to 65535'),
)

const bytes = v.pipe(
  v.union(
    [
      v.number(),
      v.pipe(
        v.string(),
        v.regex(/^\d{1,15}(KiB|MiB|GiB)?$/),
        v.transform((text) => {
          const [, digits, unit] = /^(\d+)(.*)$/.exec(text) ?? []
          return Number(digits) * (unitBytes[unit as keyof typeof unitBytes] ?? 1)
        }),
      ),
    ],
    'must be a number of bytes, or one with KiB, MiB or GiB behind it',
  ),
  v.safeInteger('must be a whole number'),
  v.minValue(1, 'must be at least 1'),
)

const boolean = v.union(
  [
    v.boolean(),
    v.pipe(
      v.picklist(['true', 'false']),
      v.transform((text) => text === 'true'),
    ),
  ],
  'must be true or false',
)

const off = v.pipe(
  v.union([v.literal('off'), v.literal(false)]),
  v.transform(() => 0),
)

const text = v.pipe(v.string('must be text'), v.nonEmpty('must not be empty'))

/** An address literal or a name, with or without the brackets of a URL. */
const host = v.pipe(
  text,
  v.transform((name) => name.replace(/^\[(.*)\]$/, '$1')),
)

const url = v.pipe(
  text,
  v.check((value) => URL.canParse(value) && /^https?:/i.test(value), 'must be an http URL'),
)

const addresses = v.pipe(
  v.union([
    v.array(text),
    v.pipe(
      text,
      v.transform((list) => list.split(/[\s,]+/)),
    ),
  ]),
  v.check(isAddressList, 'must be CIDR ranges such as 10.0.0.0/8'),
)

/** Every setting of the server, all of them optional, as a flag, a variable and a key of the file write it. */
export const settingsSchema = v.strictObject({
  host: v.optional(host),
  port: v.optional(port),
  folder: v.optional(text),
  data: v.optional(text),
  memory: v.optional(bytes),
  torrentHost: v.optional(host),
  torrentPort: v.optional(port),
  trackerPort: v.optional(v.union([off, port])),
  dht: v.optional(boolean),
  lsd: v.optional(boolean),
  allowAddress: v.optional(addresses),
  publicUrl: v.optional(url),
  internalUrl: v.optional(url),
})

/** What the server is told. What is absent has its default. */
export type Settings = v.InferOutput<typeof settingsSchema>

export type SettingName = keyof Settings

/** What one setting is, for the help text. */
export interface SettingHelp {
  readonly value: string
  readonly text: string
}

export const settingsHelp: Readonly<Record<SettingName, SettingHelp>> = {
  host: { value: 'HOST', text: 'where HTTP is served (127.0.0.1)' },
  port: { value: 'N', text: 'its port, 0 for a free one (8080, or a free one where it is taken)' },
  folder: { value: 'DIR', text: 'folder to serve (the sample that comes with the server)' },
  data: { value: 'DIR', text: 'keep what is downloaded here' },
  memory: { value: 'BYTES', text: 'keep it in so much memory instead (256MiB)' },
  torrentHost: {
    value: 'HOST',
    text: 'where peers are accepted (127.0.0.1; everywhere once the DHT knows a torrent)',
  },
  torrentPort: { value: 'N', text: 'their port (a free one)' },
  trackerPort: { value: 'N|off', text: 'not there yet (off)' },
  dht: {
    value: 'true|false',
    text: 'look for peers in the DHT, and be found there; never for the sample (true)',
  },
  lsd: { value: 'true|false', text: 'look for peers in the local network (false)' },
  allowAddress: {
    value: 'CIDR',
    text: 'let magnets, trackers and redirects lead to these private addresses; repeats',
  },
  publicUrl: { value: 'URL', text: 'where clients reach this server' },
  internalUrl: { value: 'URL', text: 'not there yet' },
}

export const settingNames = Object.keys(settingsHelp) as readonly SettingName[]

/** `torrentPort` as `--torrent-port`. */
export function flagOf(name: SettingName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** `torrentPort` as `ISTHMUS_TORRENT_PORT`. */
export function variableOf(name: SettingName): string {
  return `ISTHMUS_${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`
}

function isAddressList(list: string[]): boolean {
  try {
    return new AddressPolicy({ allow: list }) instanceof AddressPolicy
  } catch {
    return false
  }
}
