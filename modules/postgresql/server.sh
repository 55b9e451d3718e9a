# PostgreSQL: what start, stop and check-sql share. Reads PG_DATA, PG_USER, PG_CONFIG, PG_BIN, PG_UNIT, PG_OPTIONS.
# shellcheck shell=sh
PG_USER=${PG_USER:-postgres}
PG_CONFIG=${PG_CONFIG:-}
PG_BIN=${PG_BIN:-}
PG_UNIT=${PG_UNIT:-auto}
PG_OPTIONS=${PG_OPTIONS:-}
CHECK_SECONDS=${CHECK_SECONDS:-4}
# Read by wait_ready as well.
export UNIT_USED=

# What follows from the data directory: version, programs, configuration, unit.
find_server() {
    [ -n "${PG_DATA:-}" ] || fail "PG_DATA is not set: name the data directory in [variables] of module.toml"
    pg_real_data=$(real_path "$PG_DATA")
    # A forced stop needs nothing but the processes, and may find the data cut off.
    if forced && [ ! -f "$PG_DATA/PG_VERSION" ]; then
        pg_of_debian=no
        find_unit
        return
    fi
    [ -f "$PG_DATA/PG_VERSION" ] || fail "$PG_DATA holds no PostgreSQL data (no PG_VERSION): create it with initdb, or correct PG_DATA"
    must_be_user "$PG_USER"
    read -r pg_version < "$PG_DATA/PG_VERSION"
    # Debian: /var/lib/postgresql/VERSION/CLUSTER belongs to /etc/postgresql/VERSION/CLUSTER and its instance unit.
    pg_cluster=${PG_DATA##*/}
    pg_etc=/etc/postgresql/$pg_version/$pg_cluster
    pg_of_debian=no
    if [ "$PG_DATA" = "/var/lib/postgresql/$pg_version/$pg_cluster" ] && [ -f "$pg_etc/postgresql.conf" ]; then
        pg_of_debian=yes
        [ -n "$PG_CONFIG" ] || PG_CONFIG=$pg_etc/postgresql.conf
    fi
    find_programs
    find_unit
}

find_programs() {
    if [ -z "$PG_BIN" ]; then
        for pg_dir in "/usr/lib/postgresql/$pg_version/bin" "/usr/pgsql-$pg_version/bin" "/usr/lib/postgresql$pg_version/bin"; do
            [ -x "$pg_dir/postgres" ] && PG_BIN=$pg_dir
        done
    fi
    if [ -z "$PG_BIN" ] && has postgres; then
        PG_BIN=$(dirname "$(command -v postgres)")
    fi
    [ -x "$PG_BIN/postgres" ] || fail "the programs of PostgreSQL $pg_version are not on this node: install them, or name their directory as PG_BIN"
}

find_unit() {
    case $PG_UNIT in
        none) ;;
        auto)
            pg_version=${pg_version:-$(printf '%s' "$PG_DATA" | sed -n 's/.*\/\([0-9][0-9]*\)\/[^/]*$/\1/p')}
            if [ "$pg_of_debian" = yes ] || [ "$PG_DATA" = "/var/lib/postgresql/$pg_version/${PG_DATA##*/}" ]; then
                pg_candidates="postgresql@$pg_version-${PG_DATA##*/}.service"
            elif [ "$PG_DATA" = "/var/lib/pgsql/$pg_version/data" ]; then
                pg_candidates="postgresql-$pg_version.service"
            elif [ "$PG_DATA" = /var/lib/pgsql/data ]; then
                pg_candidates=postgresql.service
            else
                pg_candidates=
            fi
            if unit_is_there "$pg_candidates"; then
                UNIT_USED=$pg_candidates
            fi
            ;;
        *)
            if systemd_runs; then
                unit_is_there "$PG_UNIT" || fail "systemd knows no unit '$PG_UNIT': correct PG_UNIT, or set it to \"auto\" or \"none\""
                UNIT_USED=$PG_UNIT
            fi
            ;;
    esac
}

# setting NAME: as the configuration files say, with the server down or up.
setting() {
    # PG_OPTIONS is a list of words.
    # shellcheck disable=SC2086
    as "$PG_USER" "$PG_BIN/postgres" -D "$PG_DATA" ${PG_CONFIG:+-c "config_file=$PG_CONFIG"} $PG_OPTIONS -C "$1" 2> /dev/null
}

# Where clients of this node meet the server, one line: a socket directory, or an address when it has no socket.
meeting_point() {
    { sed -n 5p "$PG_DATA/postmaster.pid"; } 2> /dev/null
}

meeting_port() {
    { sed -n 4p "$PG_DATA/postmaster.pid"; } 2> /dev/null
}

# The postmaster, if the PID file's process is one and works in this directory.
postmaster() {
    { read -r pg_pid < "$PG_DATA/postmaster.pid"; } 2> /dev/null || return 0
    case $pg_pid in
        "" | *[!0-9]*) return 0 ;;
    esac
    if named "$pg_pid" postgres && [ "$(readlink "/proc/$pg_pid/cwd")" = "$pg_real_data" ]; then
        printf '%s\n' "$pg_pid"
    fi
}

# Every process of this server, with a postmaster or without.
processes() { working_in "$pg_real_data" postgres; }

# psql as the database's owner: nothing of a user's own configuration counts.
ask() {
    ask_host=$(meeting_point)
    ask_port=$(meeting_port)
    [ -n "$ask_host" ] || ask_host=$(sed -n 6p "$PG_DATA/postmaster.pid" 2> /dev/null)
    case $ask_host in "*" | 0.0.0.0) ask_host=127.0.0.1 ;; "::") ask_host=::1 ;; esac
    [ -n "$ask_port" ] || {
        printf 'the server is not running\n' >&2
        return 1
    }
    PGCONNECT_TIMEOUT=$CHECK_SECONDS limited "$CHECK_SECONDS" "$PG_USER" "$PG_BIN/psql" -X -q -A -t -w -v ON_ERROR_STOP=1 \
        -h "$ask_host" -p "$ask_port" -d "${PG_DATABASE:-postgres}" -c "SET statement_timeout = '${CHECK_SECONDS}s'" -c "$1"
}
