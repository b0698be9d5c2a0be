// The limits that hold in every backend, checked before anything is sent.
import { FleetError } from '@fleetshard/core'
import {
  commitBytesMax,
  commitOperationsMax,
  keyBytesMax,
  valueBytesMax,
  type StoreCondition,
  type StoreWrite,
} from './store.ts'

function refuse(message: string): never {
  throw new FleetError('catalog_limit', message, { hint: 'make the change in smaller parts' })
}

function checkText(what: string, text: string): void {
  // Postgres takes no NUL, and half a surrogate pair would come back as another character from either store.
  if (text.includes('\0') || !text.isWellFormed()) refuse(`${what} has a character that a store cannot keep`)
}

function checkKey(key: string): number {
  const bytes = Buffer.byteLength(key)
  if (bytes === 0 || bytes > keyBytesMax) refuse(`a key has ${bytes} bytes; 1 to ${keyBytesMax} are allowed`)
  checkText(`the key ${JSON.stringify(key)}`, key)
  return bytes
}

function checkWrite(write: StoreWrite): number {
  const keyBytes = checkKey(write.key)
  if (write.kind === 'delete') return keyBytes
  const bytes = Buffer.byteLength(write.value)
  if (bytes > valueBytesMax)
    refuse(`the value of ${write.key} has ${bytes} bytes; ${valueBytesMax} are allowed`)
  checkText(`the value of ${write.key}`, write.value)
  return keyBytes + bytes
}

/** @throws FleetError `catalog_limit` */
export function checkCommit(conditions: readonly StoreCondition[], writes: readonly StoreWrite[]): void {
  const operations = conditions.length + writes.length
  if (operations > commitOperationsMax) {
    refuse(`a commit has ${operations} operations; ${commitOperationsMax} are allowed`)
  }
  let bytes = 0
  for (const { key } of conditions) bytes += checkKey(key)
  for (const write of writes) bytes += checkWrite(write)
  if (bytes > commitBytesMax) refuse(`a commit has ${bytes} bytes; ${commitBytesMax} are allowed`)
  if (new Set(writes.map((write) => write.key)).size < writes.length) refuse('a commit writes a key twice')
}
