# nginx and Apache: everything their scripts share. The module's own server.sh says how the programs are called and defines
# test_configuration, command_line and leave.
# shellcheck shell=sh
WEB_CONFIG=${WEB_CONFIG:-}
WEB_UNIT=${WEB_UNIT:-auto}
WEB_PID_FILE=${WEB_PID_FILE:-}
CHECK_SECONDS=${CHECK_SECONDS:-4}
CHECK_URL=${CHECK_URL:-http://127.0.0.1/}
# Read by wait_ready as well.
export UNIT_USED=

find_server() {
    has "$PROGRAM" || fail "$PRODUCT is not on this node: install it"
    case $WEB_UNIT in
        none) ;;
        auto)
            for web_unit in $UNITS; do
                # The unit runs the distribution's configuration.
                if [ -z "$UNIT_USED" ] && [ -z "$WEB_CONFIG" ] && unit_is_there "$web_unit"; then UNIT_USED=$web_unit; fi
            done
            ;;
        *)
            if systemd_runs; then
                unit_is_there "$WEB_UNIT" || fail "systemd knows no unit '$WEB_UNIT': correct WEB_UNIT, or set it to \"auto\" or \"none\""
                UNIT_USED=$WEB_UNIT
            fi
            ;;
    esac
}

# The master process, then its workers: they outlive a master that was killed, and keep its sockets.
processes() {
    if [ -n "$UNIT_USED" ]; then
        unit_pid "$UNIT_USED"
        return
    fi
    # shellcheck disable=SC2086
    in_session_of web $PROCESS_NAMES
}

master() { if [ -n "$UNIT_USED" ]; then unit_pid "$UNIT_USED"; else launched web; fi; }

# asked URL: any answer of the server counts but 5xx.
asked() {
    if has curl; then
        web_code=$(curl --silent --output /dev/null --max-time "$CHECK_SECONDS" --write-out '%{http_code}' "$1") || return 1
    elif has wget; then
        web_code=$(wget --quiet --server-response --tries=1 --timeout="$CHECK_SECONDS" -O /dev/null "$1" 2>&1 | sed -n 's/^ *HTTP[^ ]* \([0-9]*\).*/\1/p' | tail -n 1)
    else
        fail "neither curl nor wget is on this node: install one, or use a check of kind \"http\""
    fi
    case ${web_code:-000} in 000 | 5*) return 1 ;; esac
}

answers() { [ -n "$(master)" ] && asked "$CHECK_URL"; }
running() {
    if [ -n "$UNIT_USED" ]; then
        case $(systemctl is-active "$UNIT_USED" 2> /dev/null || :) in active | activating | reloading) say "$UNIT_USED" ;; esac
    fi
    master
}
progress() { say "no answer from $CHECK_URL yet"; }

start_server() {
    find_server
    # shellcheck disable=SC2086
    own_units $UNITS
    test_configuration || fail "$PRODUCT does not accept its configuration (above): correct it, nothing was started"
    if [ -n "$(master)" ]; then
        say "$PRODUCT is running already"
    else
        # shellcheck disable=SC2046
        signal KILL $(processes)
        [ -z "$WEB_PID_FILE" ] || rm -f "$WEB_PID_FILE"
        say "starting $PRODUCT${UNIT_USED:+ as $UNIT_USED}"
        if [ -n "$UNIT_USED" ]; then start_unit "$UNIT_USED"; else command_line; fi
    fi
    wait_ready "$PRODUCT" answers running progress
}

stop_server() {
    find_server
    if [ -z "$(processes)" ]; then
        [ -z "$UNIT_USED" ] || stop_unit "$UNIT_USED"
        say "$PRODUCT does not run"
        exit 0
    fi
    if forced; then
        say "forcing $PRODUCT to end"
        [ -z "$UNIT_USED" ] || stop_unit "$UNIT_USED"
        killed_within 10 processes || fail "processes do not end even by SIGKILL: $(processes | tr '\n' ' ')"
    else
        say "stopping $PRODUCT: requests under way are finished"
        if [ -n "$UNIT_USED" ]; then stop_unit "$UNIT_USED"; else signal "$LEAVE" "$(master)"; fi
        until nobody processes; do
            sleep "$LOOK"
        done
    fi
    say "$PRODUCT has stopped"
}

check_http() {
    find_server
    asked "$CHECK_URL" || fail "$PRODUCT: $CHECK_URL answered ${web_code:-nothing} within $CHECK_SECONDS s"
}
