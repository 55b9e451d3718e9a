# Oracle Database, one instance on replicated files.
# Reads ORACLE_SID, ORACLE_HOME, ORACLE_USER, ORACLE_BASE, ORACLE_LISTENER, ORACLE_UNITS.
# shellcheck shell=sh
ORACLE_USER=${ORACLE_USER:-oracle}
ORACLE_LISTENER=${ORACLE_LISTENER:-LISTENER}
ORACLE_UNITS=${ORACLE_UNITS:-}
ORATAB=${ORATAB:-/etc/oratab}
CHECK_SECONDS=${CHECK_SECONDS:-9}

find_server() {
    [ -n "${ORACLE_SID:-}" ] || fail "ORACLE_SID is not set in [variables] of module.toml"
    [ -n "${ORACLE_HOME:-}" ] || fail "ORACLE_HOME is not set in [variables] of module.toml"
    must_be_user "$ORACLE_USER"
    [ -x "$ORACLE_HOME/bin/sqlplus" ] || fail "there is no $ORACLE_HOME/bin/sqlplus on this node: install the same Oracle home here, or correct ORACLE_HOME"
    export ORACLE_SID ORACLE_HOME
    # Messages are recognised by their words.
    export NLS_LANG=AMERICAN_AMERICA.AL32UTF8
}

# sql SECONDS: runs the statements of its input as SYSDBA; an error of Oracle's is an error.
sql() {
    sql_seconds=$1
    {
        printf 'WHENEVER SQLERROR EXIT FAILURE\nWHENEVER OSERROR EXIT FAILURE\nSET HEADING OFF FEEDBACK OFF PAGESIZE 0 LINESIZE 4000 TRIMSPOOL ON\n'
        cat
        printf '\nEXIT\n'
    } | limited "$sql_seconds" "$ORACLE_USER" "$ORACLE_HOME/bin/sqlplus" -S -L / as sysdba
}

ask() { printf '%s;\n' "$1" | sql "$CHECK_SECONDS"; }

# The instance's background processes are named after it; PMON lives as long as the instance.
processes() {
    for ora_proc in /proc/[0-9]*; do
        ora_name=
        { IFS= read -r ora_name < "$ora_proc/comm"; } 2> /dev/null || continue
        case $ora_name in
            # The kernel cuts names at 15 characters.
            ora_*_"$ORACLE_SID"*) alive "${ora_proc#/proc/}" && printf '%s\n' "${ora_proc#/proc/}" ;;
        esac
    done
}
