"""Cases of psycopg2: prints `ok<TAB>name` or `failed<TAB>name<TAB>why` for each.

Usage: psycopg2_cases.py URL TENANT
"""

import datetime
import decimal
import io
import json
import sys
import threading
import uuid

import psycopg2
import psycopg2.extensions
import psycopg2.extras

URL, TENANT = sys.argv[1], sys.argv[2]
BIG, BIG_ROWS = "big", 100_000
NAME = "Ünï “quoted” \\ ' \" 🐘"
INSERT = "INSERT INTO compat_values (tenant, id, name) VALUES (%s, %s, %s)"


def count(cursor, tenant):
    cursor.execute("SELECT count(*) FROM compat_values WHERE tenant = %s", (tenant,))
    return cursor.fetchone()[0]


def round_trip(cursor, tenant, column, value, expected=None):
    cursor.execute(
        f"INSERT INTO compat_values (tenant, id, {column}) VALUES (%s, 1, %s)", (tenant, value)
    )
    cursor.execute(f"SELECT {column} FROM compat_values WHERE tenant = %s", (tenant,))
    read = cursor.fetchone()[0]
    wanted = value if expected is None else expected
    assert read == wanted, f"{column}: {read!r} is not {wanted!r}"
    cursor.execute("DELETE FROM compat_values WHERE tenant = %s", (tenant,))


def rows(connection, cursor, tenant):
    cursor.execute(INSERT, (tenant, 1, NAME))
    assert cursor.rowcount == 1
    cursor.execute("SELECT name FROM compat_values WHERE tenant = %s AND id = 1", (tenant,))
    assert cursor.fetchall() == [(NAME,)]
    cursor.execute(
        "UPDATE compat_values SET name = %s WHERE tenant = %s RETURNING id, name", ("new", tenant)
    )
    assert cursor.fetchall() == [(1, "new")]
    cursor.execute("DELETE FROM compat_values WHERE tenant = %s", (tenant,))
    assert cursor.rowcount == 1
    connection.commit()
    psycopg2.extras.execute_values(
        cursor,
        "INSERT INTO compat_values (tenant, id, name) VALUES %s",
        [(tenant, number, "x") for number in range(500)],
    )
    connection.commit()
    assert count(cursor, tenant) == 500


def commits(connection, cursor, tenant):
    cursor.execute(INSERT, (tenant, 1, "a"))
    cursor.execute(INSERT, (tenant, 2, "b"))
    assert connection.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_INTRANS
    connection.commit()
    assert connection.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
    assert count(cursor, tenant) == 2


def rolls_back(connection, cursor, tenant):
    cursor.execute(INSERT, (tenant, 1, "a"))
    connection.rollback()
    assert count(cursor, tenant) == 0


def savepoint(connection, cursor, tenant):
    cursor.execute(INSERT, (tenant, 1, "a"))
    cursor.execute("SAVEPOINT one")
    try:
        cursor.execute(INSERT, (tenant, 1, "again"))
        raise AssertionError("a duplicate was taken")
    except psycopg2.errors.UniqueViolation:
        status = connection.get_transaction_status()
        assert status == psycopg2.extensions.TRANSACTION_STATUS_INERROR
        cursor.execute("ROLLBACK TO SAVEPOINT one")
    cursor.execute(INSERT, (tenant, 2, "b"))
    connection.commit()
    assert count(cursor, tenant) == 2


def prepared(connection, cursor, tenant):
    # psycopg2 prepares nothing by itself; its users do it in SQL.
    connection.autocommit = True
    cursor.execute(INSERT, (tenant, 1, "a"))
    cursor.execute(
        "PREPARE one (text, int) AS SELECT name FROM compat_values WHERE tenant = $1 AND id = $2"
    )
    for _ in range(10):
        cursor.execute("EXECUTE one (%s, 1)", (tenant,))
        assert cursor.fetchone() == ("a",)
    cursor.execute("DEALLOCATE one")


def arrays(connection, cursor, tenant):
    round_trip(cursor, tenant, "tags", ["a", "b c", "d,e", '"f"', "\\g", "", "NULL", None])
    round_trip(cursor, tenant, "numbers", [1, -2, 2_147_483_647])
    connection.commit()


def json_and_jsonb(connection, cursor, tenant):
    doc = {"list": [1, 2.5, None, True], "text": 'ü "q"', "nested": {"a": {}}}
    round_trip(cursor, tenant, "doc", psycopg2.extras.Json(doc), doc)
    round_trip(cursor, tenant, "raw", json.dumps(doc), doc)
    connection.commit()


def bytea(connection, cursor, tenant):
    for value in (bytes([0, 1, 92, 39, 127, 128, 255]), bytes(range(256)) * 8000):
        cursor.execute(
            "INSERT INTO compat_values (tenant, id, payload) VALUES (%s, 1, %s)",
            (tenant, psycopg2.Binary(value)),
        )
        cursor.execute("SELECT payload FROM compat_values WHERE tenant = %s", (tenant,))
        assert bytes(cursor.fetchone()[0]) == value
        cursor.execute("DELETE FROM compat_values WHERE tenant = %s", (tenant,))
    connection.commit()


def dates(connection, cursor, tenant):
    utc = datetime.timezone.utc
    moment = datetime.datetime(2024, 2, 29, 12, 34, 56, 789123, tzinfo=utc)
    round_trip(cursor, tenant, "made", moment)
    round_trip(cursor, tenant, "day", datetime.date(2024, 2, 29))
    round_trip(cursor, tenant, "plain", datetime.datetime(1999, 12, 31, 23, 59, 59))
    connection.commit()


def numeric(connection, cursor, tenant):
    psycopg2.extras.register_uuid()
    round_trip(cursor, tenant, "price", decimal.Decimal("12345678901234.5600"))
    round_trip(cursor, tenant, "large", 9_007_199_254_740_993)
    round_trip(cursor, tenant, "ratio", 0.1)
    round_trip(cursor, tenant, "flag", True)
    round_trip(cursor, tenant, "uid", uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"))
    connection.commit()


def big_result(connection, cursor, tenant):
    cursor.execute("SELECT n, body FROM compat_big WHERE tenant = %s", (BIG,))
    read = cursor.fetchall()
    assert len(read) == BIG_ROWS
    assert sum(row[0] for row in read) == BIG_ROWS * (BIG_ROWS + 1) // 2
    connection.commit()


def parts(connection, cursor, tenant):
    with connection.cursor("named") as named:
        named.itersize = 500
        named.execute("SELECT n FROM compat_big WHERE tenant = %s ORDER BY n", (BIG,))
        for seen, (n,) in enumerate(named, start=1):
            assert n == seen
            if seen == 2000:
                break
    connection.commit()
    assert count(cursor, tenant) == 0


def copy_in(connection, cursor, tenant):
    lines = "".join(f"{tenant}\t{number}\tname\n" for number in range(5000))
    cursor.copy_expert("COPY compat_values (tenant, id, name) FROM STDIN", io.StringIO(lines))
    connection.commit()
    assert count(cursor, tenant) == 5000


def copy_out(connection, cursor, tenant):
    target = io.StringIO()
    cursor.copy_expert(
        f"COPY (SELECT n FROM compat_big WHERE tenant = '{BIG}' ORDER BY n) TO STDOUT", target
    )
    lines = target.getvalue().splitlines()
    assert (len(lines), lines[9]) == (BIG_ROWS, "10")


def errors(connection, cursor, tenant):
    cursor.execute(INSERT, (tenant, 1, "a"))
    connection.commit()
    try:
        cursor.execute(INSERT, (tenant, 1, "a"))
        raise AssertionError("a duplicate was taken")
    except psycopg2.errors.UniqueViolation as error:
        assert error.pgcode == "23505"
        assert error.diag.severity == "ERROR"
        assert error.diag.table_name == "compat_values"
        assert error.diag.constraint_name == "compat_values_pkey"
        assert tenant in error.diag.message_detail
    connection.rollback()
    try:
        cursor.execute("SELECT nam FROM compat_values WHERE tenant = %s", (tenant,))
        raise AssertionError("an unknown column was found")
    except psycopg2.errors.UndefinedColumn as error:
        assert error.diag.statement_position == "8"
        assert "LINE 1" in str(error)
    connection.rollback()
    assert count(cursor, tenant) == 1


def catalog(connection, cursor, tenant):
    cursor.execute(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_name = 'compat_big' ORDER BY ordinal_position"
    )
    assert cursor.fetchall() == [("tenant", "text"), ("n", "integer"), ("body", "text")]
    assert connection.server_version >= 140000
    assert connection.get_parameter_status("client_encoding") == "UTF8"
    connection.commit()


def cancels(connection, cursor, tenant):
    ended = threading.Event()

    def cancel():
        while not ended.wait(0.2):
            connection.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        cursor.execute("SELECT pg_sleep(60)")
        raise AssertionError("the statement was not cancelled")
    except psycopg2.errors.QueryCanceled:
        pass
    finally:
        ended.set()
        thread.join()
    connection.rollback()
    assert count(cursor, tenant) == 0


CASES = {
    "reads and writes rows": rows,
    "commits": commits,
    "rolls back": rolls_back,
    "rolls back to a savepoint": savepoint,
    "uses prepared statements again": prepared,
    "arrays": arrays,
    "json and jsonb": json_and_jsonb,
    "bytea": bytea,
    "dates and timestamps": dates,
    "numeric and int8": numeric,
    "a result of 100,000 rows": big_result,
    "rows in parts": parts,
    "copy in": copy_in,
    "copy out": copy_out,
    "errors with their fields": errors,
    "asks the catalog": catalog,
    "cancels": cancels,
}

for name, case in CASES.items():
    connection = None
    try:
        connection = psycopg2.connect(URL)
        case(connection, connection.cursor(), f"{TENANT} {name}")
        print(f"ok\t{name}", flush=True)
    except Exception as error:  # any failure is the answer
        why = f"{type(error).__name__}: {error}".replace("\n", " | ").replace("\t", " ")
        print(f"failed\t{name}\t{why}", flush=True)
    finally:
        if connection is not None:
            connection.close()
