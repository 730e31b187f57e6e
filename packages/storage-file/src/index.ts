export { FileStorage, type FileStorageOptions } from './file-storage.ts'
