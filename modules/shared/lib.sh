# What every script of a module shares; POSIX sh, read with `.`.
#
# What must hold: a script ends by itself, says what it does in plain lines (they go to the module's log), leaves no
# process that holds its output open, and can be called again in any state. It needs no systemd, and uses it where it runs.
# shellcheck shell=sh
set -u

MODULE=${UNDERSTUDY_MODULE:-module}
# Own files of the application's run; nothing in here outlives a reboot.
APP_RUN=${APP_RUN:-/run/understudy-apps/$MODULE}
APP_LOG=${APP_LOG:-/var/log/understudy-apps/$MODULE.log}
# `yes`: a dangerous setting or a directory that is not replicated keeps the application from starting.
STRICT=${STRICT:-no}
PROBLEMS=0
# Seconds between two looks, and between two lines of progress.
LOOK=0.2
PROGRESS=${PROGRESS:-5}

say() { printf '%s\n' "$*"; }
warn() { printf 'WARNING: %s\n' "$*" >&2; }
fail() {
    printf 'ERROR: %s\n' "$*" >&2
    exit 1
}

# True when `stop` is called because the first, clean stop took too long.
forced() { [ "${UNDERSTUDY_FORCE:-0}" = 1 ]; }

has() { command -v "$1" > /dev/null 2>&1; }

# need COMMAND WHAT-TO-DO
need() { has "$1" || fail "the command '$1' is not there: $2"; }

systemd_runs() { [ -d /run/systemd/system ] && has systemctl; }

now() { date +%s; }

# ---- users -----------------------------------------------------------------------------------------------------------

# as USER COMMAND...: becomes the user, without a login session and without leaving a process between.
as() {
    as_user=$1
    shift
    if [ "$(id -un)" = "$as_user" ]; then
        "$@"
    elif has setpriv; then
        setpriv --reuid="$as_user" --regid="$(id -g "$as_user")" --init-groups -- "$@"
    elif has runuser; then
        runuser -u "$as_user" -- "$@"
    else
        fail "cannot become user '$as_user': neither setpriv nor runuser is there (install util-linux)"
    fi
}

# limited SECONDS USER COMMAND...: as the user, killed when it takes longer.
limited() {
    limited_seconds=$1
    limited_user=$2
    shift 2
    as "$limited_user" timeout -k 1 "$limited_seconds" "$@"
}

must_be_user() { id -u "$1" > /dev/null 2>&1 || fail "there is no user '$1' on this node: install the application's package here too"; }

# ---- processes -------------------------------------------------------------------------------------------------------

# read_stat NUMBER PID: sets stat_value to a field of /proc/PID/stat counted after the name (1 is the state, 4 the session, 20
# the start time). The name may hold blanks and brackets, so counting begins behind its end.
read_stat() {
    { read -r stat_line < "/proc/$2/stat"; } 2> /dev/null || return 1
    stat_line=${stat_line##*) }
    stat_number=$1
    # The rest is numbers and one letter: splitting is what is wanted.
    # shellcheck disable=SC2086
    set -- $stat_line
    shift $((stat_number - 1))
    stat_value=$1
}

# since PID: its start time, with the number the identity of a process.
since() { read_stat 20 "$1" && printf '%s\n' "$stat_value"; }

# alive PID: it exists and is not a zombie that nobody has collected yet.
alive() {
    [ -n "${1:-}" ] || return 1
    read_stat 1 "$1" || return 1
    [ "$stat_value" != Z ] && [ "$stat_value" != X ]
}

# named PID NAME...: the process lives and is one of these programs.
named() {
    named_pid=$1
    shift
    { read -r named_comm < "/proc/$named_pid/comm"; } 2> /dev/null || return 1
    for named_name; do
        if [ "$named_comm" = "$named_name" ]; then
            alive "$named_pid"
            return
        fi
    done
    return 1
}

# working_in DIRECTORY NAME...: PIDs of these programs whose working directory it is. Servers that change into their data
# directory are found by it whatever became of their PID file, their parent and their socket.
working_in() {
    working_dir=$1
    shift
    find /proc/[0-9]*/cwd -maxdepth 0 -printf '%h|%l\n' 2> /dev/null | while IFS='|' read -r working_proc working_at; do
        [ "$working_at" = "$working_dir" ] || continue
        # A container has the same path in a file system of its own; its processes have numbers of their own, too.
        [ "$(readlink "$working_proc/ns/pid")" = "$(readlink /proc/self/ns/pid)" ] || continue
        if named "${working_proc#/proc/}" "$@"; then
            printf '%s\n' "${working_proc#/proc/}"
        fi
    done
}

# in_session_of NAME [PROGRAM...]: PIDs (of these programs, or all) in the session that `launch NAME` made. Workers are found by
# it when their master was killed.
in_session_of() {
    { read -r session_leader session_since < "$APP_RUN/$1.pid"; } 2> /dev/null || return 0
    # The number was given to another process: nobody of that session is left.
    if alive "$session_leader" && [ "$(since "$session_leader")" != "$session_since" ]; then
        return 0
    fi
    shift
    for session_proc in /proc/[0-9]*; do
        session_pid=${session_proc#/proc/}
        read_stat 4 "$session_pid" || continue
        [ "$stat_value" = "$session_leader" ] || continue
        alive "$session_pid" || continue
        if [ $# -eq 0 ] || named "$session_pid" "$@"; then
            printf '%s\n' "$session_pid"
        fi
    done
}

# real_path PATH: with symbolic links followed. A replicated directory whose file system was cut off answers nothing, and a
# forced stop has to find its processes all the same.
real_path() { readlink -m -- "$1" 2> /dev/null || printf '%s\n' "$1"; }

# signal SIGNAL PID...: a process that has ended already is no error.
signal() {
    signal_name=$1
    shift
    for signal_pid; do
        kill -s "$signal_name" "$signal_pid" 2> /dev/null || :
    done
}

# nobody COMMAND...: the command, which prints PIDs, prints none. It is asked twice: a process may be born behind one look, by a
# parent that had ended when the look came to it.
nobody() { [ -z "$("$@")" ] && [ -z "$("$@")" ]; }

# ended_within SECONDS COMMAND...: true as soon as there is nobody left of whom the command prints PIDs.
ended_within() {
    ended_end=$(($(now) + $1))
    shift
    until nobody "$@"; do
        [ "$(now)" -lt "$ended_end" ] || return 1
        sleep "$LOOK"
    done
}

# killed_within SECONDS COMMAND...: SIGKILL to all of whom the command prints PIDs, and to those born meanwhile, until nobody is
# left.
killed_within() {
    killed_end=$(($(now) + $1))
    shift
    until nobody "$@"; do
        [ "$(now)" -lt "$killed_end" ] || return 1
        # shellcheck disable=SC2046
        signal KILL $("$@")
        sleep "$LOOK"
    done
}

# launch NAME USER COMMAND...: starts a server in the background, in a session of its own and, where systemd runs, in a
# control group of its own (in the caller's it would end with the caller). USER `root`: the server changes its user itself.
launch() {
    launch_name=$1
    launch_user=$2
    shift 2
    mkdir -p "$APP_RUN" "$(dirname "$APP_LOG")"
    if [ -e "$APP_LOG" ] && [ "$(stat -c %s "$APP_LOG")" -gt 67108864 ]; then
        mv -f "$APP_LOG" "$APP_LOG.1"
    fi
    if systemd_runs && has systemd-run; then
        launch_unit=understudy-app-$MODULE-$launch_name.service
        systemctl reset-failed "$launch_unit" 2> /dev/null || :
        systemd-run --quiet --collect --unit="$launch_unit" --uid="$launch_user" --property=KillMode=mixed \
            --property="StandardOutput=append:$APP_LOG" --property="StandardError=append:$APP_LOG" "$@" ||
            fail "systemd-run did not start $1"
        launch_pid=$(systemctl show --property=MainPID --value "$launch_unit")
    else
        # The shell becomes the user and then the server: its PID stays.
        (
            exec < /dev/null >> "$APP_LOG" 2>&1
            if [ "$(id -un)" = "$launch_user" ]; then
                exec setsid "$@"
            elif has setpriv; then
                exec setsid setpriv --reuid="$launch_user" --regid="$(id -g "$launch_user")" --init-groups -- "$@"
            fi
            exec setsid runuser -u "$launch_user" -- "$@"
        ) &
        launch_pid=$!
    fi
    printf '%s %s\n' "$launch_pid" "$(since "$launch_pid")" > "$APP_RUN/$launch_name.pid"
}

# launched NAME: prints the PID of what `launch` started if it still lives; a PID that was given to another process since
# is recognised by its start time.
launched() {
    { read -r launched_pid launched_since < "$APP_RUN/$1.pid"; } 2> /dev/null || return 0
    if alive "$launched_pid" && [ "$(since "$launched_pid")" = "$launched_since" ]; then
        printf '%s\n' "$launched_pid"
    fi
}

# log_tail: the last lines the server wrote, for a failure's report.
log_tail() {
    if [ -n "${1:-}" ] && has journalctl; then
        journalctl -u "$1" -n 15 --no-pager -o cat 2> /dev/null || :
    fi
    [ -r "$APP_LOG" ] && tail -n 15 "$APP_LOG"
    return 0
}

# wait_ready WHAT IS-READY IS-RUNNING PROGRESS: until the command IS-READY succeeds; fails at once when IS-RUNNING prints
# nothing any more. There is no limit here: recovery takes what it takes, and the module's start_timeout is the limit.
wait_ready() {
    wait_since=$(now)
    wait_last=$wait_since
    wait_dead=0
    until "$2"; do
        # Between the start and the first look a server may be in the middle of becoming itself: two looks in a row count.
        if [ -z "$("$3")" ]; then
            wait_dead=$((wait_dead + 1))
            if [ "$wait_dead" -ge 5 ]; then
                log_tail "${UNIT_USED:-}" >&2
                fail "$1 ended while it was starting: its last lines are above (log: $APP_LOG)"
            fi
        else
            wait_dead=0
        fi
        if [ $(($(now) - wait_last)) -ge "$PROGRESS" ]; then
            wait_last=$(now)
            say "$1 is not ready yet after $((wait_last - wait_since)) s: $("$4")"
        fi
        sleep "$LOOK"
    done
    say "$1 is ready after $(($(now) - wait_since)) s"
}

# ---- systemd ---------------------------------------------------------------------------------------------------------

# own_units UNIT...: nobody but understudy may start the application; says how to undo it.
own_units() {
    systemd_runs || return 0
    for own_unit; do
        case $(systemctl is-enabled "$own_unit" 2> /dev/null || :) in
            enabled)
                if systemctl disable "$own_unit" > /dev/null 2>&1; then
                    say "disabled $own_unit, so that only understudy starts it; to undo: systemctl enable $own_unit"
                else
                    warn "could not disable $own_unit: it may start on the secondary at boot; run: systemctl disable $own_unit"
                fi
                ;;
        esac
    done
}

# unit_is_there UNIT
unit_is_there() { systemd_runs && [ -n "$1" ] && systemctl cat "$1" > /dev/null 2>&1; }

# unit_pid UNIT: its main process, nothing when there is none.
unit_pid() {
    unit_main=$(systemctl show --property=MainPID --value "$1" 2> /dev/null || :)
    [ "${unit_main:-0}" = 0 ] || printf '%s\n' "$unit_main"
}

# start_unit UNIT: asks for it and does not wait, so that progress can be told.
start_unit() {
    systemctl reset-failed "$1" 2> /dev/null || :
    systemctl start --no-block "$1" || fail "systemctl start $1 failed: systemctl status $1 says why"
}

# stop_unit UNIT: a clean stop, or with force a kill after which systemd does not start it again by itself.
stop_unit() {
    if forced; then
        systemctl kill --signal=KILL "$1" 2> /dev/null || :
        systemctl stop --no-block "$1" 2> /dev/null || :
    else
        systemctl stop "$1" || fail "systemctl stop $1 failed: systemctl status $1 says why"
    fi
}

# ---- directories -----------------------------------------------------------------------------------------------------

# The replicated directories, one a line (they come separated by colons or newlines).
directories() {
    case ${UNDERSTUDY_DIRECTORIES:-} in
        *"
"*) printf '%s\n' "$UNDERSTUDY_DIRECTORIES" ;;
        *) printf '%s\n' "${UNDERSTUDY_DIRECTORIES:-}" | tr ':' '\n' ;;
    esac
}

# replicated PATH: it lies in a replicated directory, with symbolic links followed.
replicated() {
    replicated_path=$(real_path "$1")
    directories | {
        while IFS= read -r replicated_dir; do
            [ -n "$replicated_dir" ] || continue
            replicated_dir=$(real_path "$replicated_dir")
            case $replicated_path/ in
                "$replicated_dir"/*) exit 0 ;;
            esac
        done
        exit 1
    }
}

# must_be_replicated WHAT PATH: names it when the other node would not have it.
must_be_replicated() {
    if ! replicated "$2"; then
        problem "$1 is in $2, which is not replicated: after a failover it is missing. Add a [[replicate]] table with directory = \"$2\" to the module"
    fi
}

# problem TEXT: something that loses data; counted.
problem() {
    warn "$*"
    PROBLEMS=$((PROBLEMS + 1))
}

# dangerous SETTING VALUE CONSEQUENCE CURE
dangerous() { problem "DANGEROUS SETTING $1 = $2: $3. Set $4"; }

# end_of_problems: with STRICT = yes a problem keeps the application from starting.
end_of_problems() {
    if [ "$PROBLEMS" -gt 0 ] && [ "$STRICT" = yes ]; then
        fail "$PROBLEMS problem(s) named above, and STRICT = \"yes\": not started. Cure them, or set STRICT = \"no\" in [variables]"
    fi
    [ "$PROBLEMS" -eq 0 ] || warn "$PROBLEMS problem(s) named above can lose data in a failover; the application runs all the same (STRICT = \"no\")"
}

# empty_directory PATH: removes what is in it, not itself. Nothing happens unless it is a real directory.
empty_directory() {
    if [ -d "$1" ] && [ ! -L "$1" ]; then
        find "$1" -mindepth 1 -delete
    fi
}
