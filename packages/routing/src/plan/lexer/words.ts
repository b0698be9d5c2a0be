// The words that the lexer looks at. A mask by length and first letter spares all others a look into the table.

/** What a word means to the lexer. */
export const Word = {
  other: 0,
  /** Begins a statement whose literals may be taken out. */
  rows: 1,
  /** Literals behind it, up to the end of its parentheses, decide what the statement means. */
  clause: 2,
  /** In parentheses behind it stand lengths, not values. */
  type: 3,
  interval: 4,
  uescape: 5,
  as: 6,
  create: 7,
  routine: 8,
  begin: 9,
  atomic: 10,
  end: 11,
} as const
/** One of the values of `Word`. */
export type Word = (typeof Word)[keyof typeof Word]

const LISTS: readonly (readonly [Word, string])[] = [
  [Word.rows, 'select insert update delete merge with values table'],
  [Word.clause, 'by limit offset fetch'],
  [Word.type, 'char character varchar varying bpchar nchar numeric decimal dec float bit time timestamp'],
  // Their arguments name things, or are settings.
  [Word.type, 'timestamptz timetz set_config current_setting nextval setval currval'],
  [Word.interval, 'interval'],
  [Word.uescape, 'uescape'],
  [Word.as, 'as'],
  [Word.create, 'create'],
  [Word.routine, 'function procedure'],
  [Word.begin, 'begin'],
  [Word.atomic, 'atomic'],
  [Word.end, 'end'],
]

const WORDS = new Map<string, Word>()
const MASKS = new Int32Array(32)
for (const [meaning, list] of LISTS) {
  for (const word of list.split(' ')) {
    WORDS.set(word, meaning)
    MASKS[word.length] = (MASKS[word.length] ?? 0) | (1 << (word.charCodeAt(0) - 97))
  }
}

/** The meaning of the word between the offsets, in whatever case. */
export function wordAt(text: string, start: number, end: number): Word {
  const mask = end - start < 32 ? (MASKS[end - start] ?? 0) : 0
  if (mask === 0) return Word.other
  const letter = (text.charCodeAt(start) | 32) - 97
  if (letter < 0 || letter > 25 || (mask & (1 << letter)) === 0) return Word.other
  return WORDS.get(text.slice(start, end).toLowerCase()) ?? Word.other
}
