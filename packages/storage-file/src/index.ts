export { FileSession, type FileSessionOptions } from './file-session.ts'
export { FileStorage, type FileStorageOptions } from './file-storage.ts'
export { PieceFileStorage, type PieceFileStorageOptions } from './piece-file-storage.ts'
