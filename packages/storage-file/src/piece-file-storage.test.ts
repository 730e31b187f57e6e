import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { storageConformance } from '@isthmus/core/conformance'
import { describe, test } from 'vitest'
import { PieceFileStorage } from './piece-file-storage.ts'

describe('PieceFileStorage keeps the storage contract', () => {
  const setup = async () => {
    const own = await mkdtemp(join(tmpdir(), 'isthmus-pieces-'))
    return {
      open: async () =>
        new PieceFileStorage({ directory: own, maxBytes: 64 * 1024 * 1024, syncIntervalMs: 0 }),
      dispose: () => rm(own, { recursive: true }),
    }
  }
  for (const { name, run } of storageConformance(setup, { persists: true })) test(name, run)
})
