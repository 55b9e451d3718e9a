# SQL Server for Linux, one instance on replicated files.
# Reads MSSQL_DATA, MSSQL_USER, MSSQL_LOGIN, MSSQL_UNIT, MSSQL_SERVER, MSSQL_ADDRESS.
# shellcheck shell=sh
MSSQL_DATA=${MSSQL_DATA:-/var/opt/mssql}
MSSQL_USER=${MSSQL_USER:-mssql}
MSSQL_LOGIN=${MSSQL_LOGIN:-/etc/understudy/mssql.login}
MSSQL_UNIT=${MSSQL_UNIT:-auto}
MSSQL_SERVER=${MSSQL_SERVER:-/opt/mssql/bin/sqlservr}
MSSQL_ADDRESS=${MSSQL_ADDRESS:-127.0.0.1,1433}
CHECK_SECONDS=${CHECK_SECONDS:-4}
# Read by wait_ready as well.
export UNIT_USED=

find_server() {
    must_be_user "$MSSQL_USER"
    [ -x "$MSSQL_SERVER" ] || fail "there is no $MSSQL_SERVER on this node: install the package mssql-server, or correct MSSQL_SERVER"
    sqlcmd=
    for sqlcmd_found in sqlcmd /opt/mssql-tools18/bin/sqlcmd /opt/mssql-tools/bin/sqlcmd; do
        if [ -z "$sqlcmd" ] && has "$sqlcmd_found"; then sqlcmd=$sqlcmd_found; fi
    done
    [ -n "$sqlcmd" ] || fail "sqlcmd is not on this node: install the package mssql-tools18"
    case $MSSQL_UNIT in
        none) ;;
        auto) if unit_is_there mssql-server.service; then UNIT_USED=mssql-server.service; fi ;;
        *) if systemd_runs; then UNIT_USED=$MSSQL_UNIT; fi ;;
    esac
}

processes() { if [ -n "$UNIT_USED" ]; then unit_pid "$UNIT_USED"; else in_session_of sqlservr; fi; }

# The login file holds LOGIN=... and PASSWORD=...; the password is never on a command line.
ask() {
    [ -r "$MSSQL_LOGIN" ] || {
        printf 'cannot read %s, which holds LOGIN=name and PASSWORD=word (mode 0600)\n' "$MSSQL_LOGIN"
        return 1
    }
    (
        # shellcheck disable=SC1090
        . "$MSSQL_LOGIN"
        export SQLCMDUSER="$LOGIN" SQLCMDPASSWORD="$PASSWORD"
        # -C: the server's own certificate is taken; the connection is this node's loopback.
        timeout -k 1 "$CHECK_SECONDS" "$sqlcmd" -C -S "$MSSQL_ADDRESS" -l "$CHECK_SECONDS" -t "$CHECK_SECONDS" -b -h -1 -W -Q "SET NOCOUNT ON; $1" 2>&1
    )
}

# Databases that are not usable yet, with what they are.
not_online() {
    ask "SELECT name + ' ' + state_desc FROM sys.databases WHERE state_desc NOT IN ('ONLINE', 'OFFLINE')"
}
