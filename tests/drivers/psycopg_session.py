"""psycopg 3 at work: host port user password dbname tenant. Ends with "all of it"."""

import sys
import threading
import time

import psycopg

host, port, user, password, dbname, tenant = sys.argv[1:]
login = dict(host=host, port=port, user=user, password=password, dbname=dbname)

with psycopg.connect(**login, autocommit=True) as connection:
    assert connection.execute("SELECT id FROM whoami").fetchone() == (tenant,)

    # libpq hands out the pid of BackendKeyData; drivers compare it with that of a notification.
    pid = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    assert connection.info.backend_pid == pid, (connection.info.backend_pid, pid)
    connection.execute("LISTEN news")
    connection.execute("NOTIFY news, 'mine'")
    news = next(connection.notifies(timeout=10))
    assert (news.pid, news.payload) == (pid, "mine"), news

    assert connection.info.parameter_status("server_version").startswith(("15", "18"))
    assert connection.info.parameter_status("client_encoding") == "UTF8"

    # After five runs psycopg prepares a statement on the server.
    for i in range(20):
        assert connection.execute("SELECT %s::int + 1", [i]).fetchone() == (i + 1,)

    # A pipeline with an error in its midst: what comes after it is skipped up to the sync.
    try:
        with connection.pipeline():
            connection.execute("SELECT 1")
            connection.execute("SELECT 1/0")
            connection.execute("SELECT 2")
        raise AssertionError("no error")
    except psycopg.errors.DivisionByZero:
        pass
    assert connection.execute("SELECT 3").fetchone() == (3,)

    # Cancel from another thread, as Ctrl-C would.
    threading.Timer(0.3, connection.cancel).start()
    started = time.monotonic()
    try:
        connection.execute("SELECT pg_sleep(60)")
        raise AssertionError("not cancelled")
    except psycopg.errors.QueryCanceled:
        assert time.monotonic() - started < 30
    assert connection.execute("SELECT 4").fetchone() == (4,)

    # COPY in the binary format, both ways.
    connection.execute("CREATE TABLE pairs (i int, t text)")
    with connection.cursor() as cursor:
        with cursor.copy("COPY pairs FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            for i in range(10_000):
                copy.write_row((i, f"row {i}"))
        with cursor.copy("COPY pairs TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            assert list(copy.rows()) == [(i, f"row {i}") for i in range(10_000)]

    # A server-side cursor is a portal read in portions.
    with connection.transaction(), connection.cursor("portions") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT i FROM pairs ORDER BY i")
        assert [row[0] for row in cursor] == list(range(10_000))

wrong = dict(login, password="wrong")
try:
    psycopg.connect(**wrong)
    raise AssertionError("let in with a wrong password")
except psycopg.OperationalError as error:
    assert "password authentication failed" in str(error), error

print("all of it")
