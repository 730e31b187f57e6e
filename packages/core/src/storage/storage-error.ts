import { IsthmusError } from '../errors.ts'
import { isErrno } from './root-directory.ts'

/**
 * An error of the file system as one of ours: `ISTHMUS_STORAGE_FULL` where no room is left, else
 * `ISTHMUS_STORAGE_FAILED`. Ours pass as they are.
 *
 * @param doing What failed, and on which file: `'writing Sintel/Sintel.mp4'`.
 */
export function storageError(error: unknown, doing: string): IsthmusError {
  if (error instanceof IsthmusError) return error
  if (isErrno(error, 'ENOSPC', 'EDQUOT')) {
    return new IsthmusError('ISTHMUS_STORAGE_FULL', `${doing}: no room left`, { cause: error })
  }
  return new IsthmusError('ISTHMUS_STORAGE_FAILED', `${doing} failed`, { cause: error })
}
