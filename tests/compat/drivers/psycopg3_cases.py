"""Cases of psycopg 3: prints `ok<TAB>name` or `failed<TAB>name<TAB>why` for each.

Not psycopg2 under another name: values travel beside the statement, in text or binary, statements are prepared from
their sixth use on, many of them go out before the first is answered (`pipeline`), and COPY is read and written by row.

Usage: psycopg3_cases.py URL TENANT
"""

import datetime
import decimal
import sys
import threading
import uuid

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.json import Json, Jsonb

URL, TENANT = sys.argv[1], sys.argv[2]
BIG, BIG_ROWS = "big", 100_000
NAME = "Ünï “quoted” \\ ' \" 🐘"
INSERT = "INSERT INTO compat_values (tenant, id, name) VALUES (%s, %s, %s)"
COUNT = "SELECT count(*) FROM compat_values WHERE tenant = %s"


def count(connection, tenant):
    return connection.execute(COUNT, (tenant,)).fetchone()[0]


def refused(kind, run):
    """The error of this kind that `run` must raise."""
    try:
        run()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def round_trip(connection, tenant, column, value, expected=None):
    wanted = value if expected is None else expected
    for binary in (False, True):
        place = "%b" if binary and not isinstance(value, (Json, Jsonb)) else "%s"
        connection.execute(
            f"INSERT INTO compat_values (tenant, id, {column}) VALUES (%s, 1, {place})", (tenant, value)
        )
        query = f"SELECT {column} FROM compat_values WHERE tenant = %s"
        (read,) = connection.execute(query, (tenant,), binary=binary).fetchone()
        assert read == wanted, f"{column}: {read!r} is not {wanted!r}"
        connection.execute("DELETE FROM compat_values WHERE tenant = %s", (tenant,))


def rows(connection, tenant):
    assert connection.execute(INSERT, (tenant, 1, NAME)).rowcount == 1
    query = "SELECT name FROM compat_values WHERE tenant = %s AND id = 1"
    assert connection.execute(query, (tenant,)).fetchall() == [(NAME,)]
    update = "UPDATE compat_values SET name = %s WHERE tenant = %s RETURNING id, name"
    assert connection.execute(update, ("new", tenant)).fetchall() == [(1, "new")]
    assert connection.execute("DELETE FROM compat_values WHERE tenant = %s", (tenant,)).rowcount == 1
    connection.commit()
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, [(tenant, number, "x") for number in range(500)])
        assert cursor.rowcount == 500
    connection.commit()
    assert count(connection, tenant) == 500


def commits(connection, tenant):
    connection.execute(INSERT, (tenant, 1, "a"))
    connection.execute(INSERT, (tenant, 2, "b"))
    assert connection.info.transaction_status == TransactionStatus.INTRANS
    connection.commit()
    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert count(connection, tenant) == 2


def rolls_back(connection, tenant):
    connection.execute(INSERT, (tenant, 1, "a"))
    connection.rollback()
    assert count(connection, tenant) == 0


def savepoint(connection, tenant):
    with connection.transaction():
        connection.execute(INSERT, (tenant, 1, "a"))

        def again():
            with connection.transaction():
                connection.execute(INSERT, (tenant, 1, "again"))

        refused(psycopg.errors.UniqueViolation, again)
        connection.execute(INSERT, (tenant, 2, "b"))
    assert count(connection, tenant) == 2


def prepared(connection, tenant):
    connection.autocommit = True
    connection.execute(INSERT, (tenant, 0, "0"))
    query = "SELECT name FROM compat_values WHERE tenant = %s AND id = %s"
    for _ in range(10):
        assert connection.execute(query, (tenant, 0)).fetchone() == ("0",)
    with connection.pipeline() as pipeline:
        for number in range(1, 11):
            connection.execute(INSERT, (tenant, number, str(number)), prepare=True)
        read = [connection.execute(query, (tenant, number)) for number in range(11)]
        pipeline.sync()
        failed = connection.execute("SELECT nam FROM compat_values WHERE tenant = %s", (tenant,))
        refused(psycopg.errors.UndefinedColumn, failed.fetchone)
        refused(psycopg.errors.PipelineAborted, connection.execute(COUNT, (tenant,)).fetchone)
        pipeline.sync()
        counted = connection.execute(COUNT, (tenant,))
    assert [cursor.fetchone() for cursor in read] == [(str(number),) for number in range(11)]
    assert counted.fetchone() == (11,)


def arrays(connection, tenant):
    round_trip(connection, tenant, "tags", ["a", "b c", "d,e", '"f"', "\\g", "", "NULL", None])
    round_trip(connection, tenant, "numbers", [1, -2, 2_147_483_647])


def json_and_jsonb(connection, tenant):
    doc = {"list": [1, 2.5, None, True], "text": 'ü "q"', "nested": {"a": {}}}
    round_trip(connection, tenant, "doc", Jsonb(doc), doc)
    round_trip(connection, tenant, "raw", Json(doc), doc)


def bytea(connection, tenant):
    for value in (bytes([0, 1, 92, 39, 127, 128, 255]), bytes(range(256)) * 8000):
        round_trip(connection, tenant, "payload", value)


def dates(connection, tenant):
    utc = datetime.timezone.utc
    round_trip(connection, tenant, "made", datetime.datetime(2024, 2, 29, 12, 34, 56, 789123, tzinfo=utc))
    round_trip(connection, tenant, "day", datetime.date(2024, 2, 29))
    round_trip(connection, tenant, "plain", datetime.datetime(1999, 12, 31, 23, 59, 59))


def numeric(connection, tenant):
    round_trip(connection, tenant, "price", decimal.Decimal("12345678901234.5600"))
    round_trip(connection, tenant, "large", 9_007_199_254_740_993)
    round_trip(connection, tenant, "ratio", 0.1)
    round_trip(connection, tenant, "flag", True)
    round_trip(connection, tenant, "uid", uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"))


def big_result(connection, tenant):
    query = "SELECT n, body FROM compat_big WHERE tenant = %s"
    read = connection.execute(query, (BIG,), binary=True).fetchall()
    assert len(read) == BIG_ROWS
    assert sum(row[0] for row in read) == BIG_ROWS * (BIG_ROWS + 1) // 2


def parts(connection, tenant):
    query = "SELECT n FROM compat_big WHERE tenant = %s ORDER BY n"
    with connection.cursor("named") as named:
        named.itersize = 500
        named.execute(query, (BIG,))
        for seen, (n,) in enumerate(named, start=1):
            assert n == seen
            if seen == 2000:
                break
    for seen, (n,) in enumerate(connection.cursor().stream(query, (BIG,)), start=1):
        assert n == seen
    assert seen == BIG_ROWS
    connection.commit()
    assert count(connection, tenant) == 0


def copy_in(connection, tenant):
    columns = "COPY compat_values (tenant, id, name) FROM STDIN"
    for first, options in ((0, ""), (2500, " (FORMAT binary)")):
        with connection.cursor().copy(columns + options) as copy:
            copy.set_types(["text", "int4", "text"])
            for number in range(first, first + 2500):
                copy.write_row((tenant, number, "name"))
    connection.commit()
    assert count(connection, tenant) == 5000


def copy_out(connection, tenant):
    query = "COPY (SELECT n FROM compat_big WHERE tenant = %s ORDER BY n) TO STDOUT (FORMAT binary)"
    with connection.cursor().copy(query, (BIG,)) as copy:
        copy.set_types(["int4"])
        read = [n for (n,) in copy.rows()]
    assert read == list(range(1, BIG_ROWS + 1))


def errors(connection, tenant):
    connection.execute(INSERT, (tenant, 1, "a"))
    connection.commit()
    error = refused(psycopg.errors.UniqueViolation, lambda: connection.execute(INSERT, (tenant, 1, "a")))
    assert error.sqlstate == "23505"
    assert error.diag.severity == "ERROR"
    assert error.diag.table_name == "compat_values"
    assert error.diag.constraint_name == "compat_values_pkey"
    assert tenant in error.diag.message_detail
    connection.rollback()
    query = "SELECT nam FROM compat_values WHERE tenant = %s"
    error = refused(psycopg.errors.UndefinedColumn, lambda: connection.execute(query, (tenant,)))
    assert error.diag.statement_position == "8"
    assert "LINE 1" in str(error)
    connection.rollback()
    assert count(connection, tenant) == 1


def catalog(connection, tenant):
    columns = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_name = %s ORDER BY ordinal_position",
        ("compat_big",),
    )
    assert columns.fetchall() == [("tenant", "text"), ("n", "integer"), ("body", "text")]
    assert connection.info.server_version >= 140000
    assert connection.info.parameter_status("client_encoding") == "UTF8"


def cancels(connection, tenant):
    ended = threading.Event()

    def cancel():
        while not ended.wait(0.2):
            connection.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        refused(psycopg.errors.QueryCanceled, lambda: connection.execute("SELECT pg_sleep(60)"))
    finally:
        ended.set()
        thread.join()
    connection.rollback()
    assert count(connection, tenant) == 0


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
    try:
        with psycopg.connect(URL) as connection:
            case(connection, f"{TENANT} {name}")
        print(f"ok\t{name}", flush=True)
    except Exception as error:  # any failure is the answer
        why = f"{type(error).__name__}: {error}".replace("\n", " | ").replace("\t", " ")
        print(f"failed\t{name}\t{why}", flush=True)
