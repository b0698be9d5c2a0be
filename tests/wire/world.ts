// The tables and functions that wire cases speak of, and their rows before each case.

/** Made once in a database. */
export const worldSchema = `
CREATE TABLE wire_items (
  id int PRIMARY KEY,
  name text NOT NULL,
  price numeric(12, 3) CHECK (price >= 0),
  payload bytea,
  doc jsonb,
  tags text[],
  made timestamptz
);
CREATE TABLE wire_children (id int PRIMARY KEY, item_id int NOT NULL REFERENCES wire_items (id));
CREATE TABLE wire_ruled (id int);
CREATE RULE wire_rows AS ON INSERT TO wire_ruled DO INSTEAD SELECT NEW.id AS id, 'x' AS said;
CREATE RULE wire_more AS ON UPDATE TO wire_ruled DO INSTEAD UPDATE wire_items SET price = NEW.id;
CREATE TYPE wire_mood AS ENUM ('low', 'high');
CREATE FUNCTION wire_notice(text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  RAISE NOTICE 'noticed: %', $1 USING HINT = 'a hint', DETAIL = 'a detail', ERRCODE = '01W01';
  RETURN 1;
END $$;
CREATE FUNCTION wire_fail(text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'failed: %', $1 USING ERRCODE = 'WF001', DETAIL = 'why', HINT = 'what to do',
    TABLE = 'a table', COLUMN = 'a column', CONSTRAINT = 'a constraint', DATATYPE = 'a type', SCHEMA = 'a schema';
END $$;
CREATE FUNCTION wire_shape() RETURNS SETOF wire_items LANGUAGE sql STABLE AS 'SELECT * FROM wire_items ORDER BY id';
CREATE PROCEDURE wire_call(INOUT n int) LANGUAGE plpgsql AS $$ BEGIN n := n + 1; END $$;
`

/** Run before each case. */
export const worldRows = `
TRUNCATE wire_items, wire_children;
INSERT INTO wire_items VALUES
  (1, 'one', 1.5, '\\x0001ff', '{"a": 1}', '{x,y}', '2024-02-29 12:00:00.123456+00'),
  (2, 'two', 2.000, NULL, '[true, null]', '{}', NULL),
  (3, 'drei ß €', NULL, '\\x', NULL, NULL, 'infinity'),
  (4, '', 0, '\\xdeadbeef', '"text"', '{NULL,"quoted, \\"so\\""}', '0044-03-15 00:00:00+00 BC'),
  (5, 'five', 123456789.123, NULL, '{}', '{{a,b},{c,d}}', '1999-12-31 23:59:59+00');
INSERT INTO wire_children VALUES (1, 1);
`

/** Takes all of it away. */
export const worldDrop = `
DROP FUNCTION IF EXISTS wire_shape, wire_notice, wire_fail;
DROP TABLE IF EXISTS wire_ruled, wire_children, wire_items;
DROP PROCEDURE IF EXISTS wire_call;
DROP TYPE IF EXISTS wire_mood;
`
