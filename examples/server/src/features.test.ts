import { expect, test } from 'vitest'
import { refuseUnsupported } from './features.ts'
import { sampleDirectory } from './sample.ts'
import type { Settings } from './settings.ts'

test.each<[Settings, string]>([
  [{ folder: '/somewhere' }, '--folder'],
  [{ trackerPort: 6969 }, '--tracker-port'],
  [{ internalUrl: 'http://a.example' }, '--internal-url'],
])('%j is refused by name', (settings, flag) => {
  expect(() => refuseUnsupported(settings)).toThrow(
    expect.objectContaining({
      code: 'ISTHMUS_CONFIG_UNSUPPORTED',
      message: expect.stringContaining(flag),
    }),
  )
})

test.each<Settings>([
  {},
  { trackerPort: 0, dht: false, lsd: false },
  { dht: true, lsd: true },
  { folder: sampleDirectory },
  { folder: `${sampleDirectory}/../sample/` },
])('%j turns off what is not there', (settings) => {
  expect(() => refuseUnsupported(settings)).not.toThrow()
})
