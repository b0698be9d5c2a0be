// A topology file on disk, read and followed. Node only.
export { FollowedFile, type FollowedFileParts } from './followed-file.ts'
export type { FileVersion } from '../versions.ts'
