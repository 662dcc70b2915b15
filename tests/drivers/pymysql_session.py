"""PyMySQL at work: host port user password dbname tenant. Ends with "all of it"."""

import sys
import threading
import time

import pymysql
from pymysql.constants import CLIENT, ER
from pymysql.cursors import SSCursor

host, port, user, password, dbname, tenant = sys.argv[1:]
login = dict(host=host, port=int(port), user=user, password=password, database=dbname, autocommit=True)


def one(connection, query, *arguments):
    with connection.cursor() as cursor:
        cursor.execute(query, arguments)
        return cursor.fetchone()


connection = pymysql.connect(**login, client_flag=CLIENT.MULTI_STATEMENTS)
assert one(connection, "SELECT id FROM whoami") == (tenant,)
assert one(connection, "SELECT %s, %s", "naïve 🦜", b"\x00\xff")[0] == "naïve 🦜"

# The driver escapes by the status flags and character set that the login said.
assert one(connection, "SELECT %s", "it's a \\ back'slash\0") == ("it's a \\ back'slash\0",)

with connection.cursor() as cursor:
    cursor.execute("SELECT 1; SELECT 2; SELECT 3")
    seen = [cursor.fetchall()]
    while cursor.nextset():
        seen.append(cursor.fetchall())
    assert seen == [((1,),), ((2,),), ((3,),)], seen

    cursor.execute("CREATE TABLE numbers (i int, t text)")
    cursor.executemany("INSERT INTO numbers VALUES (%s, %s)", [(i, f"row {i}") for i in range(10_000)])

with connection.cursor(SSCursor) as cursor:
    cursor.execute("SELECT i FROM numbers ORDER BY i")
    assert [row[0] for row in cursor] == list(range(10_000))

try:
    one(connection, "SELECT * FROM nowhere")
    raise AssertionError("no error")
except pymysql.err.ProgrammingError as error:
    assert error.args[0] == ER.NO_SUCH_TABLE, error

# KILL QUERY by the id of the greeting, from a second connection.
killer = pymysql.connect(**login)
threading.Timer(0.3, killer.query, [f"KILL QUERY {connection.thread_id()}"]).start()
started = time.monotonic()
try:
    one(connection, "SELECT count(*) FROM whoami WHERE sleep(60) OR id")
    raise AssertionError("not killed")
except pymysql.err.OperationalError as error:
    assert error.args[0] == 1317, error
    assert time.monotonic() - started < 30
assert one(connection, "SELECT 4") == (4,)

# KILL of the session itself: the driver's own errors of a lost connection, which pools and ORMs go by.
victim = pymysql.connect(**login)
threading.Timer(0.3, killer.query, [f"KILL {victim.thread_id()}"]).start()
try:
    one(victim, "SELECT count(*) FROM whoami WHERE sleep(60) OR id")
    raise AssertionError("not killed")
except pymysql.err.OperationalError as error:
    assert error.args[0] in (2006, 2013), error
killer.close()

connection.ping(reconnect=False)
connection.close()

try:
    pymysql.connect(**dict(login, password="wrong"))
    raise AssertionError("let in with a wrong password")
except pymysql.err.OperationalError as error:
    assert error.args[0] == 1045, error

print("all of it")
