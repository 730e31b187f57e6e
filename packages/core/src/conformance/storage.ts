import type { ConformanceCase } from './conformance-case.ts'
import { conformanceCase } from './expectations.ts'
import { closing, reading } from './storage-access.ts'
import { destroying, destroyingForGood, evicting, persisting } from './storage-keeping.ts'
import { type CheckedMedium, openMedium, type StorageFixture } from './storage-medium.ts'
import { holding, writing } from './storage-writing.ts'

/** What the storage does not do, said beforehand, so that no case passes because it had nothing to check. */
export interface StorageTraits {
  /** What was committed is there after closing and opening again. @defaultValue false */
  readonly persists?: boolean | undefined
  /** Methods that the storage leaves out. Without `write`, only reading and closing are looked at. @defaultValue [] */
  readonly without?: readonly ('write' | 'evict' | 'destroy' | 'capacity')[] | undefined
}

/**
 * The promises of the storage contract, each as a case for any test runner:
 *
 * ```ts
 * const setup = async () => ({ open: async () => new MyStorage() })
 * for (const { name, run } of storageConformance(setup)) test(name, run)
 * ```
 *
 * Every case calls `setup` for a medium of its own. A broken promise rejects with
 * `ISTHMUS_CONFORMANCE_FAILED`.
 */
export function storageConformance(
  setup: () => Promise<StorageFixture>,
  traits: StorageTraits = {},
): readonly ConformanceCase[] {
  const { persists = false, without = [] } = traits
  const missing = new Set(without)
  const writes = !missing.has('write')
  const groups = [
    reading,
    closing,
    writes ? writing : {},
    writes && persists ? persisting : {},
    writes && !missing.has('evict') ? evicting : {},
    writes && !missing.has('destroy') ? destroying : {},
    writes && !missing.has('destroy') && persists ? destroyingForGood : {},
    writes && !missing.has('capacity') ? holding : {},
  ]
  return groups
    .flatMap((group) => Object.entries<(medium: CheckedMedium) => Promise<void>>(group))
    .map(([name, check]) =>
      conformanceCase(name, async () => {
        const medium = openMedium(await setup(), writes)
        try {
          await check(medium)
        } finally {
          await medium.dispose()
        }
      }),
    )
}
