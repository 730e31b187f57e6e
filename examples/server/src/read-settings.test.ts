import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readSettings } from './read-settings.ts'

let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'isthmus-settings-'))
})

afterAll(() => rm(directory, { recursive: true }))

async function settingsOf(args: readonly string[], environment = {}) {
  const invocation = await readSettings(args, environment)
  return invocation.kind === 'serve' ? invocation.settings : invocation.kind
}

async function file(yaml: string): Promise<string> {
  const path = join(directory, `${Math.random()}.yaml`)
  await writeFile(path, yaml)
  return path
}

test('without anything, nothing is set', async () => {
  expect(await settingsOf([])).toEqual({})
})

test('every setting is a flag', async () => {
  const args = [
    ...['--host', '[::1]', '--port', '0', '--folder', 'a', '--memory', '64MiB'],
    ...['--torrent-host', '0.0.0.0', '--torrent-port=6881', '--tracker-port', 'off'],
    ...['--dht', 'false', '--lsd', 'true', '--allow-address', '10.0.0.0/8'],
    ...['--allow-address', '::1', '--public-url', 'https://a.example/x'],
    ...['--internal-url', 'http://b.example'],
  ]
  expect(await settingsOf(args)).toEqual({
    ...{ host: '::1', port: 0, folder: 'a', memory: 67_108_864, torrentHost: '0.0.0.0' },
    ...{ torrentPort: 6881, trackerPort: 0, dht: false, lsd: true },
    allowAddress: ['10.0.0.0/8', '::1'],
    ...{ publicUrl: 'https://a.example/x', internalUrl: 'http://b.example' },
  })
})

test('every setting is a variable, of which other programs may have more', async () => {
  const environment = {
    ...{ ISTHMUS_PORT: '1', ISTHMUS_TORRENT_PORT: '2', ISTHMUS_DHT: 'false', ISTHMUS_DATA: 'd' },
    ...{ ISTHMUS_ALLOW_ADDRESS: '10.0.0.0/8, ::1', ISTHMUS_LSD: '', ISTHMUS_SEED: '7' },
  }
  expect(await settingsOf([], environment)).toEqual({
    ...{ port: 1, torrentPort: 2, dht: false, data: 'd', allowAddress: ['10.0.0.0/8', '::1'] },
  })
})

test('flags win over variables, and variables over the file', async () => {
  const config = await file('port: 1\nhost: a\ntorrentPort: 3\nallowAddress: [127.0.0.1]\n')
  const environment = { ISTHMUS_CONFIG: config, ISTHMUS_PORT: '4', ISTHMUS_HOST: 'b' }
  expect(await settingsOf(['--port', '5'], environment)).toEqual({
    ...{ port: 5, host: 'b', torrentPort: 3, allowAddress: ['127.0.0.1'] },
  })
})

test('another way of keeping data takes the place of the lower one', async () => {
  const config = await file('data: /d\n')
  expect(await settingsOf(['--config', config, '--memory', '1'])).toEqual({ memory: 1 })
})

test('an empty file sets nothing', async () => {
  expect(await settingsOf(['--config', await file('# nothing\n')])).toEqual({})
})

test.each([[['--help']], [['-h', '--port', '1']]])('%j asks for help', async (args) => {
  expect(await settingsOf(args)).toBe('help')
})

describe('is refused with its name', () => {
  test.each([
    [['--port', 'x'], '--port must be a whole number'],
    [['--port', '65536'], '--port must be 0 to 65535'],
    [['--torrent-port=-1'], '--torrent-port must be a whole number'],
    [['--memory', '0'], '--memory must be at least 1'],
    [['--memory', '1kB'], '--memory must be a number of bytes'],
    [['--dht', 'yes'], '--dht must be true or false'],
    [['--allow-address', '10.0.0.0/99'], '--allow-address must be CIDR'],
    [['--public-url', 'ftp://a'], '--public-url must be an http URL'],
    [['--host', ''], '--host must not be empty'],
    [['--data', 'd', '--memory', '1'], '--data and --memory exclude each other'],
    [['--prot', '1'], '--prot'],
    [['extra'], 'extra'],
    [['--port'], '--port'],
  ])('%j', async (args, message) => {
    await expect(settingsOf(args)).rejects.toMatchObject({
      code: 'ISTHMUS_CONFIG_INVALID',
      message: expect.stringContaining(message),
    })
  })

  test.each([
    ['prot: 1', 'prot in '],
    ['config: a', 'config in '],
    ['port: [1]', 'port in '],
    ['__proto__: {}', '__proto__ in '],
    ['- port', 'must hold keys'],
    ['a: [', 'cannot be read'],
  ])('%j', async (yaml, message) => {
    await expect(settingsOf(['--config', await file(yaml)])).rejects.toMatchObject({
      code: 'ISTHMUS_CONFIG_INVALID',
      message: expect.stringContaining(message),
    })
  })

  test('a variable', async () => {
    const environment = { ISTHMUS_PORT: 'tcp://10.0.0.1:80' }
    await expect(settingsOf([], environment)).rejects.toMatchObject({
      message: 'ISTHMUS_PORT must be a whole number',
    })
  })

  test('a file that is not there', async () => {
    await expect(settingsOf(['--config', join(directory, 'none')])).rejects.toMatchObject({
      code: 'ISTHMUS_CONFIG_INVALID',
    })
  })
})
