"""psycopg 3 inside TLS: host port user password dbname tenant folder. The folder has ca.crt, other.crt (of an authority that
certified nobody here), and app.crt with app.key. Ends with "all of it"."""

import io
import sys
import threading
import time

import psycopg

address, port, user, password, dbname, tenant, folder = sys.argv[1:]
login = dict(host="localhost", hostaddr=address, port=port, user=user, password=password, dbname=dbname)
verified = dict(sslmode="verify-full", sslrootcert=f"{folder}/ca.crt")


def who(**more):
    with psycopg.connect(**{**login, **more}, autocommit=True) as connection:
        assert connection.execute("SELECT id FROM whoami").fetchone() == (tenant,)
        return connection.pgconn.ssl_in_use


def refusal(**more):
    try:
        psycopg.connect(**{**login, **more}).close()
    except psycopg.OperationalError as error:
        return str(error)
    raise AssertionError(f"connected with {more}")


assert who(sslmode="require")
assert who(**verified)
assert who(**verified, ssl_max_protocol_version="TLSv1.2")
assert who(**verified, ssl_min_protocol_version="TLSv1.3", channel_binding="require")
assert who(**verified, ssl_max_protocol_version="TLSv1.2", channel_binding="require")
assert who(**verified, channel_binding="disable")
assert "certificate verify failed" in refusal(sslmode="verify-ca", sslrootcert=f"{folder}/other.crt")
assert "does not match host name" in refusal(**verified, host="elsewhere.test")

# TLS at once, which libpq has known since version 17.
assert who(**verified, sslnegotiation="direct", channel_binding="require")

# The certificate is shown where it is asked for, and looked at where it counts.
assert who(**verified, sslcert=f"{folder}/app.crt", sslkey=f"{folder}/app.key")

with psycopg.connect(**login, **verified, autocommit=True) as connection:
    # Records of every size, both ways.
    for size in [1, 100, 16383, 16384, 16385, 3_000_000]:
        sent = "x" * size
        assert connection.execute("SELECT %s::text", [sent]).fetchone() == (sent,), size
    with connection.cursor() as cursor:
        cursor.execute("SELECT repeat(md5(i::text), 300) FROM generate_series(1, 2000) i")
        assert sum(len(row[0]) for row in cursor) == 2000 * 300 * 32
    connection.execute("CREATE TABLE copied (i int, t text)")
    with connection.cursor().copy("COPY copied FROM STDIN") as copy:
        for i in range(20_000):
            copy.write_row((i, f"row {i}"))
    with connection.cursor().copy("COPY copied TO STDOUT") as copy:
        assert sum(1 for _ in copy.rows()) == 20_000
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", [i]) for i in range(200)]
    assert [cursor.fetchone()[0] for cursor in cursors] == list(range(200))

    # libpq asks for a cancel inside TLS, too, if the connection is.
    def cancel():
        with psycopg.connect(**login, **verified, autocommit=True) as other:
            asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(%%)' AND state = 'active'"
            while other.execute(asleep).fetchone() == (0,):
                time.sleep(0.02)
        connection.cancel_safe(timeout=20)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        connection.execute("SELECT pg_sleep(100)")
        raise AssertionError("nobody cancelled")
    except psycopg.errors.QueryCanceled:
        pass
    canceller.join()
    assert connection.execute("SELECT 1").fetchone() == (1,)
    connection.execute("DROP TABLE copied")

print("all of it")
