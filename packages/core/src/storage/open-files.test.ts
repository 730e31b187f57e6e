import { close, constants, open } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { OpenFiles } from './open-files.ts'

const openOf = promisify(open)
const closeOf = promisify(close)

describe('OpenFiles', () => {
  let directory = ''
  let opened: number[] = []
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'isthmus-open-'))
    await writeFile(join(directory, 'file'), 'content')
    opened = []
  })
  afterEach(() => rm(directory, { recursive: true }))

  const openFile = async () => {
    const fd = await openOf(join(directory, 'file'), constants.O_RDONLY)
    opened.push(fd)
    return fd
  }

  test('opens once for all uses of one key, and again after it was closed', async () => {
    const files = new OpenFiles({ maxOpenFiles: 2 })
    const key = {}
    const fds = await Promise.all([1, 2, 3].map(() => files.use(key, openFile, async (fd) => fd)))
    expect(new Set(fds).size).toBe(1)
    expect(opened).toHaveLength(1)
    await files.close([key])
    expect(files.size).toBe(0)
    await files.use(key, openFile, async () => {})
    expect(opened).toHaveLength(2)
    await files.close([key])
  })

  test('never holds more than it may, and closes the least recently used first', async () => {
    const files = new OpenFiles({ maxOpenFiles: 2 })
    const [one, two, three] = [{}, {}, {}]
    for (const key of [one, two, one, three]) await files.use(key, openFile, async () => {})
    expect([one, two, three].map((key) => files.has(key))).toEqual([true, false, true])
    await files.close([one, three])
    await expect(closeOf(opened[0] ?? -1)).rejects.toMatchObject({ code: 'EBADF' })
  })

  test('waits where all are in use, and never closes one in use', async () => {
    const files = new OpenFiles({ maxOpenFiles: 1 })
    const order: string[] = []
    let release = (): void => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const one = {}
    const first = files.use(one, openFile, async () => {
      await held
      order.push('first')
    })
    const second = files.use({}, openFile, async () => order.push('second'))
    const closing = files.close([one])
    release()
    await Promise.all([first, second, closing])
    expect(order).toEqual(['first', 'second'])
    expect(files.has(one)).toBe(false)
  })

  test('gives idle files back where the process has no descriptor left', async () => {
    const files = new OpenFiles({ maxOpenFiles: 10 })
    const keys = [{}, {}, {}]
    for (const key of keys) await files.use(key, openFile, async () => {})
    let attempts = 0
    const scarce = async () => {
      attempts++
      if (files.size > 1) throw Object.assign(new Error('too many'), { code: 'EMFILE' })
      return await openFile()
    }
    await files.use({}, scarce, async () => {})
    expect(attempts).toBe(2)
    expect(files.size).toBe(1)
  })

  test('passes the failure of opening on to all who wait for it, and tries again later', async () => {
    const files = new OpenFiles({ maxOpenFiles: 1 })
    const key = {}
    const refused = Object.assign(new Error('no more'), { code: 'EMFILE' })
    const failing = async () => {
      throw refused
    }
    const uses = [1, 2].map(() => files.use(key, failing, async () => {}))
    for (const use of uses) await expect(use).rejects.toBe(refused)
    expect(files.size).toBe(0)
    await files.use(key, openFile, async () => {})
    await files.close([key])
  })

  test('a bound that is no positive integer is a RangeError', () => {
    for (const maxOpenFiles of [0, -1, 1.5, Number.NaN]) {
      expect(() => new OpenFiles({ maxOpenFiles })).toThrow(RangeError)
    }
  })
})
