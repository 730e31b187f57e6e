import { createHash, webcrypto } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Child } from '../../../../test/support/child.ts'
import { endAfterTest, temporaryDirectory } from '../../../../test/support/cleanup.ts'
import { isIsthmusError } from '../errors.ts'
import { HashThread } from './hash-thread.ts'
import { Hasher } from './hasher.ts'

describe('a hasher', () => {
  test('answers with the SHA-1 of plain bytes, of a view of them, and of none', async () => {
    const hasher = endAfterTest(new Hasher())
    const bytes = fill(new Uint8Array(100_000), 1)
    expect(hex(await hasher.sha1(bytes))).toBe(sha1(bytes))
    expect(hex(await hasher.sha1(bytes.subarray(5, 70_000)))).toBe(sha1(bytes.subarray(5, 70_000)))
    expect(hex(await hasher.sha1(Buffer.from('abc')))).toBe(sha1(Buffer.from('abc')))
    expect(hex(await hasher.sha1(new Uint8Array()))).toBe(sha1(new Uint8Array()))
  })

  test('answers with the SHA-1 of shared bytes before its thread is up', async () => {
    const hasher = endAfterTest(new Hasher())
    const shared = fill(sharedBytes(100_000), 2)
    expect(hex(await hasher.sha1(shared))).toBe(sha1(shared))
    expect(hex(await hasher.sha1(shared.subarray(1, 9)))).toBe(sha1(shared.subarray(1, 9)))
  })

  test('hashes shared bytes in its thread once that is up', async () => {
    const hasher = endAfterTest(new Hasher())
    await threadUp(hasher)
    const digest = vi.spyOn(webcrypto.subtle, 'digest')
    const shared = sharedBytes(100_000)
    // The same buffer again and again, as the pieces of a torrent have it.
    for (let seed = 0; seed < 20; seed++) {
      fill(shared, seed)
      expect(hex(await hasher.sha1(shared))).toBe(sha1(shared))
    }
    expect(digest).not.toHaveBeenCalled()
    const part = shared.subarray(1, 9)
    expect(hex(await hasher.sha1(part))).toBe(sha1(part))
    expect(digest).toHaveBeenCalledTimes(1)
  })

  test('keeps many small pieces apart that come at once', async () => {
    const hasher = endAfterTest(new Hasher())
    await threadUp(hasher)
    const pieces = Array.from({ length: 500 }, (_, seed) => fill(sharedBytes(1 + seed), seed))
    for (let turn = 0; turn < 3; turn++) {
      const digests = await Promise.all(pieces.map((bytes) => hasher.sha1(bytes)))
      expect(digests.map(hex)).toEqual(pieces.map(sha1))
    }
  })

  test('keeps large pieces apart that come at once, also with more than one thread', async () => {
    const hasher = endAfterTest(new Hasher({ threads: 2 }))
    await threadUp(hasher)
    const pieces = Array.from({ length: 6 }, (_, seed) => fill(sharedBytes(4 * 1024 * 1024), seed))
    for (let turn = 0; turn < 2; turn++) {
      const digests = await Promise.all(pieces.map((bytes) => hasher.sha1(bytes)))
      expect(digests.map(hex)).toEqual(pieces.map(sha1))
    }
  })

  test('hands out digests that nobody else holds', async () => {
    const hasher = endAfterTest(new Hasher())
    await threadUp(hasher)
    const shared = sharedBytes(10)
    const first = await hasher.sha1(shared)
    first.fill(0)
    expect(hex(await hasher.sha1(shared))).toBe(sha1(shared))
  })
})

test('threads start with the first shared bytes, one for little work, and none after close', async () => {
  let started = 0
  const count = () => void started++
  process.on('worker', count)
  onTestFinished(() => void process.off('worker', count))
  const hasher = endAfterTest(new Hasher())
  await hasher.sha1(new Uint8Array(10))
  expect(started).toBe(0)
  await threadUp(hasher)
  await hasher.sha1(sharedBytes(10))
  hasher.warm()
  await nextTurn()
  expect(started).toBe(1)
  await hasher.close()
  hasher.warm()
  await nextTurn()
  expect(started).toBe(1)
})

describe('a closed hasher', () => {
  test('rejects', async () => {
    const hasher = new Hasher()
    hasher.warm()
    await hasher.close()
    await hasher.close()
    hasher.warm()
    await expectFailed(hasher.sha1(new Uint8Array(5)))
    await expectFailed(hasher.sha1(sharedBytes(5)))
  })

  test('rejects what was under way, in its thread and elsewhere', async () => {
    const hasher = endAfterTest(new Hasher())
    await threadUp(hasher)
    const work = [sharedBytes(1_000_000), sharedBytes(1_000_000), new Uint8Array(1_000_000)]
    const failed = work.map((bytes) => expectFailed(hasher.sha1(bytes)))
    await hasher.close()
    await Promise.all(failed)
  })

  test('is what `await using` leaves behind', async () => {
    let left: Hasher | undefined
    {
      await using hasher = new Hasher()
      expect(await hasher.sha1(new Uint8Array(5))).toHaveLength(20)
      left = hasher
    }
    await expectFailed(left.sha1(new Uint8Array(5)))
  })
})

describe('a hash thread', () => {
  test('is ready once it has answered, and no more once it is closed', async () => {
    const thread = endAfterTest(new HashThread())
    expect(thread.ready).toBe(false)
    const shared = fill(sharedBytes(3000), 4)
    const digest = thread.sha1(shared.buffer)
    expect(thread.waitingBytes).toBe(3000)
    expect(hex(await digest)).toBe(sha1(shared))
    expect(thread.ready).toBe(true)
    expect(thread.waitingBytes).toBe(0)
    await thread.close()
    expect(thread.ready).toBe(false)
    await expectFailed(thread.sha1(shared.buffer))
  })
})

describe('a program that never closes its hasher', () => {
  test('ends when its work is done and no sooner, with threads idle or just started', async () => {
    const directory = await compiled()
    const program = join(directory, 'program.mjs')
    await writeFile(
      program,
      `import { Hasher } from './hash/hasher.js'
      import { HashThread } from './hash/hash-thread.js'
      const bytes = new Uint8Array(new SharedArrayBuffer(100))
      const thread = new HashThread()
      console.log('thread', Buffer.from(await thread.sha1(bytes.buffer)).toString('hex'))
      await thread.sha1(new SharedArrayBuffer(16 * 1024 * 1024))
      console.log('and on')
      new HashThread()
      const hasher = new Hasher()
      console.log('hasher', Buffer.from(await hasher.sha1(bytes)).toString('hex'))`,
    )
    const child = endAfterTest(new Child(process.execPath, [program]))
    expect(await child.ended(), child.output).toBe(0)
    const digest = sha1(new Uint8Array(100))
    expect(child.output.split('\n').sort()).toEqual([
      'and on',
      `hasher ${digest}`,
      `thread ${digest}`,
    ])
  }, 30_000)

  test('has a thread also where the program came in by a flag', async () => {
    const directory = await compiled()
    const module = pathToFileURL(join(directory, 'hash/hash-thread.js')).href
    const text = `import { HashThread } from '${module}'
      const digest = await new HashThread().sha1(new SharedArrayBuffer(100))
      console.log(Buffer.from(digest).toString('hex'))`
    const child = endAfterTest(new Child(process.execPath, ['--input-type=module', '--eval', text]))
    expect(await child.ended(), child.output).toBe(0)
    expect(child.output).toBe(sha1(new Uint8Array(100)))
  }, 30_000)
})

function sharedBytes(length: number): Uint8Array & { readonly buffer: SharedArrayBuffer } {
  return new Uint8Array(new SharedArrayBuffer(length))
}

function fill<T extends Uint8Array>(bytes: T, seed: number): T {
  for (let at = 0; at < bytes.length; at += 97) bytes[at] = (at * 7 + seed * 13) & 0xff
  return bytes
}

function sha1(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('hex')
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

async function expectFailed(work: Promise<unknown>): Promise<void> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(isIsthmusError(error, 'ISTHMUS_HASH_FAILED')).toBe(true)
}

/** Resolves once shared bytes no longer go through WebCrypto: they are hashed in the thread. */
async function threadUp(hasher: Hasher): Promise<void> {
  const digest = vi.spyOn(webcrypto.subtle, 'digest')
  onTestFinished(() => void digest.mockRestore())
  const bytes = sharedBytes(1)
  do {
    digest.mockClear()
    await hasher.sha1(bytes)
  } while (digest.mock.calls.length > 0)
}

/** The sources of the station as a program of Node can import them. */
async function compiled(): Promise<string> {
  const directory = await temporaryDirectory()
  await writeFile(join(directory, 'package.json'), '{"type":"module"}')
  const source = fileURLToPath(new URL('..', import.meta.url))
  for (const name of ['errors', 'hash/hasher', 'hash/hash-thread']) {
    const { outputText } = ts.transpileModule(await readFile(join(source, `${name}.ts`), 'utf8'), {
      compilerOptions: {
        module: ts.ModuleKind.ESNext,
        target: ts.ScriptTarget.ES2022,
        rewriteRelativeImportExtensions: true,
      },
    })
    await mkdir(dirname(join(directory, name)), { recursive: true })
    await writeFile(join(directory, `${name}.js`), outputText)
  }
  return directory
}
