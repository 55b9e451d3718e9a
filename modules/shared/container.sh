# podman and docker: a container, made anew at each start from an image that both nodes have and from data in replicated
# directories. Reads CONTAINER, IMAGE, CONTAINER_OPTIONS, CONTAINER_COMMAND, CHECK_COMMAND. The module's server.sh sets ENGINE.
# shellcheck shell=sh
CONTAINER=${CONTAINER:-$MODULE}
IMAGE=${IMAGE:-}
CONTAINER_OPTIONS=${CONTAINER_OPTIONS:-}
CONTAINER_COMMAND=${CONTAINER_COMMAND:-}
CHECK_COMMAND=${CHECK_COMMAND:-}
CHECK_SECONDS=${CHECK_SECONDS:-4}
STOP_SECONDS=${STOP_SECONDS:-30}

# The engine's templates are Go's.
has_image() { "$ENGINE" image inspect "$1" > /dev/null 2>&1; }
state_of() { timeout -k 1 "$CHECK_SECONDS" "$ENGINE" inspect --type container --format '{{.State.Status}}' "$1" 2> /dev/null; }
health_of() { timeout -k 1 "$CHECK_SECONDS" "$ENGINE" inspect --type container --format '{{if .State.Health}}{{.State.Health.Status}}{{end}}' "$1" 2> /dev/null; }
mounts_of() { "$ENGINE" inspect --type container --format '{{range .Mounts}}{{.Type}} {{.RW}} {{.Source}}{{println}}{{end}}' "$1"; }
restarts_of() { "$ENGINE" inspect --type container --format '{{.HostConfig.RestartPolicy.Name}}' "$1" 2> /dev/null; }

find_engine() {
    need "$ENGINE" "install $ENGINE on this node"
    [ -n "$IMAGE" ] || fail "IMAGE is not set: name the container's image in [variables] of module.toml"
}

# What the container writes outside the replicated directories is lost in a failover.
check_mounts() {
    mounts_of "$1" > "$APP_RUN/mounts" || fail "$ENGINE cannot say what $1 mounts"
    while read -r mount_kind mount_writes mount_source; do
        [ "$mount_writes" = true ] || continue
        case $mount_kind in
            bind) must_be_replicated "what container $1 mounts" "$mount_source" ;;
            volume)
                replicated "$mount_source" ||
                    problem "container $1 keeps data in a volume of $ENGINE's ($mount_source), which is not replicated: mount a replicated directory instead (--volume DIRECTORY:PATH)"
                ;;
        esac
    done < "$APP_RUN/mounts"
    rm -f "$APP_RUN/mounts"
    case $(restarts_of "$1") in
        "" | no) ;;
        *) problem "container $1 has the restart policy '$(restarts_of "$1")': $ENGINE would start it on the secondary at boot. Remove --restart; understudy restarts it" ;;
    esac
}

start_container() {
    find_engine
    mkdir -p "$APP_RUN"
    if [ "$(state_of "$CONTAINER")" = running ]; then
        say "container $CONTAINER is running already"
        return
    fi
    has_image "$IMAGE" || fail "image $IMAGE is not on this node: '$ENGINE pull $IMAGE' or '$ENGINE load'; images are not replicated, both nodes need the same one"
    "$ENGINE" rm --force "$CONTAINER" > /dev/null 2>&1 || :
    # Lists of words.
    # shellcheck disable=SC2086
    "$ENGINE" create --name "$CONTAINER" $CONTAINER_OPTIONS "$IMAGE" $CONTAINER_COMMAND > /dev/null || fail "$ENGINE could not make container $CONTAINER (above)"
    check_mounts "$CONTAINER"
    end_of_problems
    say "starting container $CONTAINER from $IMAGE"
    # What stays behind holds no output of ours.
    "$ENGINE" start "$CONTAINER" < /dev/null > /dev/null 2> "$APP_RUN/started" || fail "$ENGINE start $CONTAINER: $(cat "$APP_RUN/started")"
    wait_ready "container $CONTAINER" answers running progress
}

answers() {
    [ "$(state_of "$CONTAINER")" = running ] || return 1
    case $(health_of "$CONTAINER") in "" | healthy) ;; *) return 1 ;; esac
    [ -z "$CHECK_COMMAND" ] || inside
}
running() { case $(state_of "$CONTAINER") in running | created | restarting) say "$CONTAINER" ;; esac; }
progress() { say "state $(state_of "$CONTAINER"), health $(health_of "$CONTAINER")"; }

# CHECK_COMMAND in the container: the application's own client, usually.
inside() {
    # shellcheck disable=SC2086
    timeout -k 1 "$CHECK_SECONDS" "$ENGINE" exec "$CONTAINER" $CHECK_COMMAND > /dev/null 2>&1
}

stop_container() {
    find_engine
    case $(state_of "$CONTAINER") in
        "")
            say "there is no container $CONTAINER"
            return
            ;;
    esac
    if forced; then
        say "forcing container $CONTAINER to end"
        "$ENGINE" kill "$CONTAINER" > /dev/null 2>&1 || :
    else
        say "stopping container $CONTAINER"
        "$ENGINE" stop --time "$STOP_SECONDS" "$CONTAINER" > /dev/null || fail "$ENGINE stop $CONTAINER failed (above)"
    fi
    # Removed, so that nobody starts it by its name; it is made anew.
    "$ENGINE" rm --force "$CONTAINER" > /dev/null || fail "$ENGINE could not remove container $CONTAINER: it may still run"
    say "container $CONTAINER has stopped"
}

check_container() {
    find_engine
    check_state=$(state_of "$CONTAINER")
    case $? in 124 | 137) fail "$ENGINE did not answer within $CHECK_SECONDS s" ;; esac
    [ "$check_state" = running ] || fail "container $CONTAINER is ${check_state:-not there}"
    check_health=$(health_of "$CONTAINER")
    case $check_health in unhealthy) fail "container $CONTAINER is unhealthy by its own check" ;; esac
    if [ -n "$CHECK_COMMAND" ]; then
        inside || fail "container $CONTAINER: '$CHECK_COMMAND' failed or took longer than $CHECK_SECONDS s"
    fi
}
