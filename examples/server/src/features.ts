import { resolve } from 'node:path'
import { IsthmusError } from '@isthmus/core'
import { sampleDirectory } from './sample.ts'
import { flagOf, type SettingName, type Settings, variableOf } from './settings.ts'

/**
 * Refuses what the server cannot do yet, so that nobody believes it does.
 *
 * @throws IsthmusError `ISTHMUS_CONFIG_UNSUPPORTED`
 */
export function refuseUnsupported(settings: Settings): void {
  const { folder, trackerPort = 0, internalUrl } = settings
  if (folder !== undefined && resolve(folder) !== resolve(sampleDirectory)) {
    throw unsupported('folder', 'leave it away to serve the sample')
  }
  if (trackerPort !== 0) throw unsupported('trackerPort', 'off is all that it can be')
  if (internalUrl !== undefined) throw unsupported('internalUrl', 'leave it away')
}

function unsupported(name: SettingName, hint: string): IsthmusError {
  const spelled = `${flagOf(name)} (${variableOf(name)})`
  return new IsthmusError('ISTHMUS_CONFIG_UNSUPPORTED', `${spelled} is not there yet; ${hint}`)
}
