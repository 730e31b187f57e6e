import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

const alias = [
  {
    find: '@isthmus/core/conformance',
    replacement: source('packages/core/src/conformance/index.ts'),
  },
  { find: /^@isthmus\/([a-z0-9-]+)$/, replacement: source('packages/$1/src/index.ts') },
]

export default defineConfig({
  resolve: { alias },
  test: {
    projects: [
      {
        resolve: { alias },
        test: {
          name: 'unit',
          include: [
            'packages/*/src/**/*.test.ts',
            'examples/server/src/**/*.test.ts',
            'test/unit/**/*.test.ts',
          ],
        },
      },
      {
        resolve: { alias },
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts', 'test/interop/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // Real clients and whole flows share two cores: one file at a time keeps them honest.
          fileParallelism: false,
        },
      },
    ],
  },
})
