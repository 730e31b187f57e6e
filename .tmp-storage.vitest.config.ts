import { defineConfig } from 'vitest/config'
export default defineConfig({
  resolve: { alias: [
    { find: '@isthmus/core/conformance', replacement: '/work/main/packages/core/src/conformance/storage.ts' },
    { find: /^@isthmus\/core$/, replacement: '/tmp/w-st/core-index.ts' },
  ] },
  test: { include: ['packages/storage-file/src/**/*.test.ts'] },
})
