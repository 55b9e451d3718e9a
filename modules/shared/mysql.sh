# MySQL and MariaDB: everything their scripts share. The module's own server.sh says how the programs are called.
# Reads MYSQL_DATA, MYSQL_CONFIG, MYSQL_USER, MYSQL_SOCKET, MYSQL_LOGIN, MYSQL_UNIT, MYSQL_OPTIONS.
# shellcheck shell=sh
MYSQL_USER=${MYSQL_USER:-mysql}
MYSQL_CONFIG=${MYSQL_CONFIG:-}
MYSQL_LOGIN=${MYSQL_LOGIN:-}
MYSQL_UNIT=${MYSQL_UNIT:-auto}
MYSQL_OPTIONS=${MYSQL_OPTIONS:-}
CHECK_SECONDS=${CHECK_SECONDS:-4}
# Read by wait_ready as well.
export UNIT_USED=

# first_of COMMAND...: the first one that is installed.
first_of() {
    for first; do
        if has "$first"; then
            command -v "$first"
            return
        fi
    done
    fail "none of these programs is on this node: $*. Install $PRODUCT's server and client"
}

find_server() {
    [ -n "${MYSQL_DATA:-}" ] || fail "MYSQL_DATA is not set: name the data directory in [variables] of module.toml"
    [ -n "${MYSQL_SOCKET:-}" ] || fail "MYSQL_SOCKET is not set: name the server's socket in [variables] of module.toml"
    my_real_data=$(real_path "$MYSQL_DATA")
    # A forced stop needs nothing but the processes, and may find the data cut off.
    forced || [ -d "$MYSQL_DATA/mysql" ] || fail "$MYSQL_DATA holds no $PRODUCT data (no folder 'mysql'): create it, or correct MYSQL_DATA"
    must_be_user "$MYSQL_USER"
    # These are lists of words.
    # shellcheck disable=SC2086
    my_server=$(first_of $SERVER_PROGRAMS) || exit 1
    # shellcheck disable=SC2086
    my_client=$(first_of $CLIENT_PROGRAMS) || exit 1
    # shellcheck disable=SC2086
    my_admin=$(first_of $ADMIN_PROGRAMS) || exit 1
    case $MYSQL_UNIT in
        none) ;;
        auto)
            for my_unit in $UNITS; do
                # The unit runs the data directory of its own configuration, which is the usual one.
                if [ -z "$UNIT_USED" ] && [ "$MYSQL_DATA" = /var/lib/mysql ] && unit_is_there "$my_unit"; then
                    UNIT_USED=$my_unit
                fi
            done
            ;;
        *)
            if systemd_runs; then
                unit_is_there "$MYSQL_UNIT" || fail "systemd knows no unit '$MYSQL_UNIT': correct MYSQL_UNIT, or set it to \"auto\" or \"none\""
                UNIT_USED=$MYSQL_UNIT
            fi
            ;;
    esac
}

# Servers change into their data directory, so that no PID file has to be believed.
# shellcheck disable=SC2086
processes() { working_in "$my_real_data" $PROCESS_NAMES; }

# client PROGRAM ARGUMENTS...: as root through the socket, or as MYSQL_LOGIN says (a file with [client] user and password).
client() {
    client_program=$1
    shift
    if [ -n "$MYSQL_LOGIN" ]; then
        limited "$CHECK_SECONDS" root "$client_program" --defaults-file="$MYSQL_LOGIN" --socket="$MYSQL_SOCKET" "$@"
    else
        limited "$CHECK_SECONDS" root "$client_program" --no-defaults --user=root --socket="$MYSQL_SOCKET" "$@"
    fi
}

ask() { client "$my_client" --batch --skip-column-names --connect-timeout="$CHECK_SECONDS" -e "$1"; }

# ---- start -----------------------------------------------------------------------------------------------------------

# Nothing of this is replicated; a socket or PID file of a server that is gone keeps nobody from starting, but misleads.
clear_leftovers() {
    rm -f "$MYSQL_SOCKET" "$MYSQL_SOCKET.lock" "$MYSQL_DATA"/*.pid "$MYSQL_DATA"/*.sock "$MYSQL_DATA"/*.sock.lock "$MYSQL_DATA/ibtmp1"
    empty_directory "$MYSQL_DATA/#innodb_temp"
    my_dir=$(dirname "$MYSQL_SOCKET")
    # Made at boot by the distribution's unit; here nobody may have done it yet.
    [ -d "$my_dir" ] || install -d -m 755 -o "$MYSQL_USER" "$my_dir"
    install -d -m 755 -o "$MYSQL_USER" "$APP_RUN" "$APP_RUN/server"
}

# Symbolic links and .isl files are how tables live elsewhere; seen before the server is.
find_elsewhere() {
    must_be_replicated "the data directory" "$MYSQL_DATA"
    find "$MYSQL_DATA" \( -type l -o -name '*.isl' \) -print > "$APP_RUN/elsewhere"
    while IFS= read -r my_found; do
        if [ -L "$my_found" ]; then
            must_be_replicated "${my_found#"$MYSQL_DATA"/}" "$(readlink -m "$my_found")"
        else
            read -r my_target < "$my_found" || :
            must_be_replicated "the table of ${my_found#"$MYSQL_DATA"/}" "$my_target"
        fi
    done < "$APP_RUN/elsewhere"
    rm -f "$APP_RUN/elsewhere"
}

run() {
    say "starting $PRODUCT on $MYSQL_DATA${UNIT_USED:+ as $UNIT_USED}"
    if [ -n "$UNIT_USED" ]; then
        systemctl stop "$UNIT_USED" 2> /dev/null || :
        start_unit "$UNIT_USED"
        return
    fi
    # MYSQL_OPTIONS is a list of words.
    # shellcheck disable=SC2086
    launch server root "$my_server" ${MYSQL_CONFIG:+"--defaults-file=$MYSQL_CONFIG"} --user="$MYSQL_USER" --datadir="$MYSQL_DATA" \
        --socket="$MYSQL_SOCKET" --pid-file="$APP_RUN/server/server.pid" $MYSQL_OPTIONS
}

# An answer that refuses the login is an answer; the check says more.
answers() { [ -n "$(processes)" ] && client "$my_admin" ping > /dev/null 2>&1; }

running() {
    if [ -n "$UNIT_USED" ]; then
        case $(systemctl is-active "$UNIT_USED" 2> /dev/null || :) in active | activating | reloading) say "$UNIT_USED" ;; esac
    else
        launched server
    fi
    processes
}

# The server's own last word about recovery.
progress() {
    if [ -n "$UNIT_USED" ] && has journalctl; then
        my_word=$(journalctl -u "$UNIT_USED" -n 1 --no-pager -o cat 2> /dev/null)
    else
        my_word=$(tail -n 1 "$APP_LOG" 2> /dev/null)
    fi
    say "${my_word:-the server is starting}"
}

variable() { printf '%s\n' "$my_variables" | sed -n "s/^$1	//p"; }

# weak NAME GOOD CONSEQUENCE: a variable the server does not have is no problem.
weak() {
    weak_value=$(variable "$1")
    case $weak_value in
        "" | "$2") ;;
        *) dangerous "$1" "$weak_value" "$3" "$1 = $2 under [mysqld]" ;;
    esac
}

check_settings() {
    my_variables=$(ask "SHOW GLOBAL VARIABLES") || {
        warn "cannot ask $PRODUCT for its settings: durability is not checked. Allow root to log in through the socket, or name a file with user and password as MYSQL_LOGIN"
        return
    }
    weak innodb_flush_log_at_trx_commit 1 "the last acknowledged commits are lost in a failover"
    weak innodb_doublewrite ON "a page torn by a crash or a failover cannot be repaired"
    case $(variable innodb_flush_method) in
        nosync | littlesync) dangerous innodb_flush_method "$(variable innodb_flush_method)" "nothing is ever flushed to disk" "innodb_flush_method = fsync or O_DIRECT under [mysqld]" ;;
    esac
    if [ "$(variable log_bin)" = ON ]; then
        weak sync_binlog 1 "the binary log and the tables disagree after a failover, which breaks replicas and point-in-time recovery"
        must_be_replicated "the binary log" "$(dirname "$(variable log_bin_basename)")"
    fi
    for my_name in innodb_data_home_dir innodb_log_group_home_dir innodb_undo_directory; do
        my_value=$(variable "$my_name")
        case $my_value in
            "") ;;
            /*) must_be_replicated "$my_name" "$my_value" ;;
            *) must_be_replicated "$my_name" "$MYSQL_DATA/$my_value" ;;
        esac
    done
    [ "$(readlink -m "$(variable datadir)")" = "$my_real_data" ] ||
        problem "the server uses the data directory $(variable datadir), the module $MYSQL_DATA: make them the same"
    my_fragile=$(ask "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables WHERE engine IN ('MyISAM', 'MEMORY')
        AND table_schema NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') LIMIT 5" | tr '\n' ' ')
    [ -z "$my_fragile" ] || warn "these tables do not survive a crash whole, because of their engine: $my_fragile; ALTER TABLE ... ENGINE = InnoDB"
}

start_server() {
    find_server
    # shellcheck disable=SC2086
    own_units $UNITS
    if [ -z "$(processes)" ]; then
        clear_leftovers
        find_elsewhere
        end_of_problems
        run
    else
        say "$PRODUCT is running already"
    fi
    wait_ready "$PRODUCT" answers running progress
    # Counted anew: what was found before has been told.
    PROBLEMS=0
    check_settings
    if [ "$PROBLEMS" -gt 0 ] && [ "$STRICT" = yes ]; then
        stop_server
    fi
    end_of_problems
}

# ---- stop, check -----------------------------------------------------------------------------------------------------

stop_server() {
    if [ -n "$UNIT_USED" ]; then
        stop_unit "$UNIT_USED"
    elif forced; then
        # shellcheck disable=SC2046
        signal KILL $(processes)
    else
        # SIGTERM is a normal shutdown. There is no limit here: stop_timeout is the limit, then force follows.
        # shellcheck disable=SC2046
        signal TERM $(processes)
    fi
    if forced; then
        ended_within 3 processes || killed_within 10 processes || fail "processes do not end even by SIGKILL: $(processes | tr '\n' ' '); they wait for a disk that does not answer"
    fi
    until nobody processes; do
        sleep "$LOOK"
    done
}

stop_and_tell() {
    find_server
    if [ -z "$(processes)" ]; then
        [ -z "$UNIT_USED" ] || stop_unit "$UNIT_USED"
        say "$PRODUCT does not run on $MYSQL_DATA"
        exit 0
    fi
    if forced; then say "forcing $PRODUCT to end"; else say "stopping $PRODUCT"; fi
    stop_server
    say "$PRODUCT has stopped"
}

check_sql() {
    find_server
    my_query=${CHECK_QUERY:-SELECT 1}
    my_said=$(ask "$my_query" 2>&1)
    case $? in
        0) exit 0 ;;
        124 | 137) fail "$PRODUCT did not answer '$my_query' within $CHECK_SECONDS s" ;;
    esac
    case $my_said in
        # It lives and is full; a restart would throw everybody out.
        *"Too many connections"*)
            warn "$PRODUCT has no free connection: raise max_connections or close some"
            exit 0
            ;;
        *"Access denied"*) fail "$PRODUCT answers and refuses the login: $my_said. Allow root through the socket, or name a file with user and password as MYSQL_LOGIN" ;;
    esac
    fail "$PRODUCT: $my_said"
}
