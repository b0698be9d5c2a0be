// What is hashed, as bytes: keys are encoded into one buffer that every hash reads from, so that hashing a key
// allocates nothing. The buffer is shared: its content is valid until the next call, and hashing never yields.

/** Longest key in bytes, of any type, in its canonical text form. */
export const keyBytesMax = 65_536

/** Bytes to hash: the first `length` of `view`, followed by at least 16 zero bytes. */
export interface HashInput {
  readonly bytes: Uint8Array
  readonly view: DataView
  length: number
}

/** Zero bytes behind the end, so that hashes read whole words and blocks. */
const padding = 16
/** Longer texts are handed to the platform's encoder, which costs about as much as copying this many units. */
const copiedUnitsMax = 20

const encoder = new TextEncoder()
const shared = makeInput(keyBytesMax)

function makeInput(capacity: number): HashInput {
  const bytes = new Uint8Array(capacity + padding)
  return { bytes, view: new DataView(bytes.buffer), length: 0 }
}

function finish(input: HashInput, length: number): HashInput {
  input.length = length
  for (let i = 0; i < padding; i += 4) input.view.setInt32(length + i, 0)
  return input
}

/** Text as UTF-8. Lone surrogates would become U+FFFD: the key parser refuses them before. */
export function encodeText(text: string): HashInput {
  const length = text.length
  if (length > copiedUnitsMax) return encodeAny(text)
  const { bytes } = shared
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i)
    if (unit > 0x7f) return encodeAny(text)
    bytes[i] = unit
  }
  return finish(shared, length)
}

function encodeAny(text: string): HashInput {
  const longest = text.length * 3
  const input = longest <= keyBytesMax ? shared : makeInput(longest)
  return finish(input, encoder.encodeInto(text, input.bytes).written)
}

/** Bytes as they are. */
export function copyBytes(bytes: Uint8Array): HashInput {
  const input = bytes.length <= keyBytesMax ? shared : makeInput(bytes.length)
  input.bytes.set(bytes)
  return finish(input, bytes.length)
}

/** The bytes of lower-case hexadecimal text from an offset on; hyphens are skipped. Decoded where it lies. */
export function decodeHex(text: string, from: number): HashInput {
  const input = encodeAny(text)
  const { bytes, length: end } = input
  let length = 0
  for (let i = from; i + 1 < end; i++) {
    const high = bytes[i]!
    if (high === hyphen) continue
    bytes[length++] = (nibble(high) << 4) | nibble(bytes[++i]!)
  }
  return finish(input, length)
}

const hyphen = 0x2d

/** Value of a lower-case hexadecimal digit given by its character code. */
function nibble(code: number): number {
  return code < 0x3a ? code - 0x30 : code - 0x57
}
