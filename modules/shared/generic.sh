# Any application: a unit of systemd (APP_UNIT), or a command that stays in the foreground (APP_COMMAND, as APP_USER).
# shellcheck shell=sh
APP_UNIT=${APP_UNIT:-}
APP_COMMAND=${APP_COMMAND:-}
APP_USER=${APP_USER:-root}
APP_CLEAR=${APP_CLEAR:-}
# Read by wait_ready as well.
export UNIT_USED=

find_application() {
    if [ -n "$APP_UNIT" ]; then
        systemd_runs || fail "the module names the unit $APP_UNIT, and systemd does not run here: name a command as APP_COMMAND instead"
        unit_is_there "$APP_UNIT" || fail "systemd knows no unit '$APP_UNIT' on this node: install the application, or correct APP_UNIT"
        UNIT_USED=$APP_UNIT
    elif [ -n "$APP_COMMAND" ]; then
        must_be_user "$APP_USER"
    else
        fail "nothing to start: name a unit as APP_UNIT, or a command as APP_COMMAND, in [variables] of module.toml"
    fi
}

# Everything in the session of what was launched, children that a dead parent has left included.
processes() {
    if [ -n "$UNIT_USED" ]; then
        case $(systemctl is-active "$UNIT_USED" 2> /dev/null || :) in
            active | activating | reloading | deactivating) say "$UNIT_USED" ;;
        esac
    else
        in_session_of application
    fi
}

runs() {
    if [ -n "$UNIT_USED" ]; then
        [ "$(systemctl is-active "$UNIT_USED" 2> /dev/null || :)" = active ]
    else
        [ -n "$(launched application)" ]
    fi
}

progress() { say "the application is starting"; }

start_application() {
    find_application
    if runs; then
        say "the application is running already"
        return
    fi
    [ -n "$UNIT_USED" ] || killed_within 10 processes || fail "what is left of the last run does not end even by SIGKILL: $(processes | tr '\n' ' ')"
    for app_file in $APP_CLEAR; do
        rm -rf -- "$app_file"
    done
    if [ -n "$UNIT_USED" ]; then
        own_units "$UNIT_USED"
        say "starting $UNIT_USED"
        start_unit "$UNIT_USED"
    else
        say "starting: $APP_COMMAND"
        launch application "$APP_USER" sh -c "exec $APP_COMMAND"
    fi
    wait_ready "the application" runs processes progress
}

stop_application() {
    find_application
    if [ -z "$(processes)" ]; then
        say "the application does not run"
        return
    fi
    if forced; then say "forcing the application to end"; else say "stopping the application"; fi
    if [ -n "$UNIT_USED" ]; then
        stop_unit "$UNIT_USED"
    elif ! forced; then
        # shellcheck disable=SC2046
        signal TERM $(processes)
    fi
    if forced; then
        killed_within 10 processes || fail "processes do not end even by SIGKILL: $(processes | tr '\n' ' ')"
    fi
    until nobody processes; do
        sleep "$LOOK"
    done
    say "the application has stopped"
}

check_application() {
    find_application
    runs || fail "the application does not run${UNIT_USED:+ (systemctl status $UNIT_USED)}"
}
