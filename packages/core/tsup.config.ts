import { defineConfig } from 'tsup'

export default defineConfig({
  entry: ['src/index.ts', 'src/conformance/index.ts'],
  format: ['esm'],
  target: 'node20',
  // tsup injects a baseUrl, which TypeScript 6 refuses unless told otherwise.
  dts: { compilerOptions: { ignoreDeprecations: '6.0' }, resolve: ['typed-emitter'] },
  sourcemap: true,
  clean: true,
})
