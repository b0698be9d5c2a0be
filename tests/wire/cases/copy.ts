// COPY in both directions, in text, CSV and binary, ended well, by the client, and by an error.
import {
  ask,
  bind,
  copyData,
  copyDone,
  copyFail,
  execute,
  parse,
  query,
  say,
  sync,
  type WireCase,
} from '../script.ts'

const binaryHeader = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)])
const binaryRow = Buffer.from([0, 2, 0, 0, 0, 4, 0, 0, 0, 110, 0, 0, 0, 1, 0x62])
const binaryEnd = Buffer.from([0xff, 0xff])

/** Cases of COPY. */
export const copyCases: readonly WireCase[] = [
  { name: 'copy out', steps: [ask('COPY (SELECT * FROM wire_items ORDER BY id) TO STDOUT', 'Hd{5}cCZ')] },
  { name: 'copy out of a table', steps: [ask('COPY wire_children TO STDOUT', 'HdcCZ')] },
  {
    name: 'copy out as CSV with a header',
    steps: [
      ask(
        'COPY (SELECT id, name, doc FROM wire_items ORDER BY id) TO STDOUT (FORMAT csv, HEADER)',
        'Hd{6}cCZ',
      ),
    ],
  },
  {
    name: 'copy out in binary',
    steps: [ask('COPY (SELECT id, name FROM wire_items ORDER BY id) TO STDOUT (FORMAT binary)', 'Hd+cCZ')],
  },
  { name: 'copy out of nothing', steps: [ask('COPY (SELECT 1 WHERE false) TO STDOUT', 'HcCZ')] },
  {
    name: 'copy out that fails between rows',
    steps: [ask('COPY (SELECT 1 / (3 - g) FROM generate_series(1, 5) g) TO STDOUT', 'HddEZ')],
  },
  {
    name: 'copy out through the extended protocol',
    steps: [say([parse('', 'COPY (SELECT 1) TO STDOUT'), bind(), execute(), sync], '12HdcCZ')],
  },
  {
    name: 'copy in',
    steps: [
      ask('COPY wire_items (id, name) FROM STDIN', 'G'),
      say([copyData('100\ta\n101\tb\n'), copyDone], 'CZ'),
      ask('SELECT id, name FROM wire_items WHERE id >= 100 ORDER BY id', 'TDDCZ'),
    ],
  },
  {
    name: 'copy in without waiting for the word',
    steps: [
      say([query('COPY wire_items (id, name) FROM STDIN'), copyData('102\ta\n'), copyDone], 'GCZ'),
      ask('SELECT name FROM wire_items WHERE id = 102', 'TDCZ'),
    ],
  },
  {
    name: 'copy in whose messages cut rows apart',
    steps: [
      ask('COPY wire_items (id, name) FROM STDIN', 'G'),
      say([...Array.from('103\tabc\n104\tdef\n', (character) => copyData(character)), copyDone], 'CZ'),
      ask('SELECT id, name FROM wire_items WHERE id >= 100 ORDER BY id', 'TDDCZ'),
    ],
  },
  {
    name: 'copy in as CSV',
    steps: [
      ask('COPY wire_items (id, name) FROM STDIN (FORMAT csv, HEADER)', 'G'),
      say([copyData('id,name\n105,"a ""quoted"", name"\n'), copyDone], 'CZ'),
      ask('SELECT id, name FROM wire_items WHERE id >= 100 ORDER BY id', 'TDCZ'),
    ],
  },
  {
    name: 'copy in in binary',
    steps: [
      ask('COPY wire_items (id, name) FROM STDIN (FORMAT binary)', 'G'),
      say([copyData(Buffer.concat([binaryHeader, binaryRow, binaryEnd])), copyDone], 'CZ'),
      ask('SELECT id, name FROM wire_items WHERE id >= 100 ORDER BY id', 'TDCZ'),
    ],
  },
  {
    name: 'copy in that the client ends',
    steps: [
      ask('COPY wire_items (id, name) FROM STDIN', 'G'),
      say([copyData('106\ta\n'), copyFail('no more')], 'EZ'),
      ask('SELECT count(*) FROM wire_items WHERE id >= 100', 'TDCZ'),
    ],
  },
  {
    name: 'copy in of a wrong row',
    steps: [
      ask('COPY wire_items (id, name) FROM STDIN', 'G'),
      say([copyData('no number\ta\n'), copyDone], 'EZ'),
      ask('SELECT 1', 'TDCZ'),
    ],
  },
  {
    name: 'copy in goes on sending after its error',
    steps: [
      ask('COPY wire_items (id, name) FROM STDIN', 'G'),
      say([copyData('1\tduplicate\n'), copyData('107\tb\n'), copyDone], 'EZ'),
      ask('SELECT count(*) FROM wire_items WHERE id >= 100', 'TDCZ'),
    ],
  },
  {
    name: 'copy in through the extended protocol',
    steps: [
      say([parse('', 'COPY wire_items (id, name) FROM STDIN'), bind(), execute(), sync], '12G'),
      say([copyData('108\ta\n'), copyDone, sync], 'CZ'),
      ask('SELECT name FROM wire_items WHERE id = 108', 'TDCZ'),
    ],
  },
  {
    name: 'copy in, flush and sync within are passed over',
    steps: [
      ask('COPY wire_items (id, name) FROM STDIN', 'G'),
      say([copyData('109\ta\n'), sync, copyData('110\tb\n'), copyDone], 'CZ'),
    ],
  },
  {
    name: 'a query in the middle of copy in',
    steps: [
      ask('COPY wire_items (id, name) FROM STDIN', 'G'),
      say([copyData('111\ta\n'), query('SELECT 1')], 'EE!'),
    ],
  },
  {
    name: 'copy in within a transaction',
    steps: [
      ask('BEGIN', 'CZ'),
      ask('COPY wire_items (id, name) FROM STDIN', 'G'),
      say([copyData('112\ta\n'), copyDone], 'CZ'),
      ask('SELECT count(*) FROM wire_items WHERE id >= 100', 'TDCZ'),
      ask('ROLLBACK', 'CZ'),
      ask('SELECT count(*) FROM wire_items WHERE id >= 100', 'TDCZ'),
    ],
  },
  {
    name: 'copy in among other statements of one string',
    steps: [
      ask('SELECT 1; COPY wire_items (id, name) FROM STDIN; SELECT 2', 'TDCG'),
      say([copyData('113\ta\n'), copyDone], 'CTDCZ'),
    ],
  },
  {
    name: 'copy in of many rows',
    steps: [
      ask('COPY wire_items (id, name) FROM STDIN', 'G'),
      say(
        [
          ...Array.from({ length: 50 }, (_, part) =>
            copyData(
              Array.from({ length: 200 }, (__, row) => `${String(1000 + part * 200 + row)}\tname\n`).join(''),
            ),
          ),
          copyDone,
        ],
        'CZ',
      ),
      ask('SELECT count(*), sum(id) FROM wire_items WHERE id >= 1000', 'TDCZ'),
    ],
  },
  { name: 'copy from a file is for the few', steps: [ask("COPY wire_items FROM '/etc/passwd'", 'EZ')] },
  {
    name: 'copy of an unknown table',
    steps: [ask('COPY wire_nothing FROM STDIN', 'EZ'), ask('COPY wire_nothing TO STDOUT', 'EZ')],
  },
]
