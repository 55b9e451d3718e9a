# A Compose project instead of a single container: COMPOSE_FILE_OF_MODULE names its file, which may lie in a replicated directory.
# shellcheck shell=sh
compose() { docker compose --project-name "$CONTAINER" --file "$COMPOSE_FILE_OF_MODULE" "$@"; }
compose_ids() { timeout -k 1 "$CHECK_SECONDS" docker ps --all --quiet --filter "label=com.docker.compose.project=$CONTAINER"; }

compose_answers() {
    [ -n "$(compose_ids)" ] || return 1
    for compose_id in $(compose_ids); do
        [ "$(state_of "$compose_id")" = running ] || return 1
        case $(health_of "$compose_id") in "" | healthy) ;; *) return 1 ;; esac
    done
}
compose_running() { compose_ids; }
compose_progress() {
    for compose_id in $(compose_ids); do
        printf '%s %s %s; ' "$compose_id" "$(state_of "$compose_id")" "$(health_of "$compose_id")"
    done
}

start_compose() {
    [ -r "$COMPOSE_FILE_OF_MODULE" ] || fail "cannot read $COMPOSE_FILE_OF_MODULE: correct COMPOSE_FILE_OF_MODULE"
    mkdir -p "$APP_RUN"
    compose up --no-start > /dev/null || fail "docker compose could not make the containers (above): is every image on this node?"
    for compose_id in $(compose_ids); do
        check_mounts "$compose_id"
    done
    end_of_problems
    say "starting project $CONTAINER"
    compose start > /dev/null || fail "docker compose could not start the project (above)"
    wait_ready "project $CONTAINER" compose_answers compose_running compose_progress
}

stop_compose() {
    if [ -z "$(compose_ids)" ]; then
        say "project $CONTAINER does not run"
        return
    fi
    if forced; then
        say "forcing project $CONTAINER to end"
        compose kill > /dev/null || :
    else
        say "stopping project $CONTAINER"
        compose stop --timeout "$STOP_SECONDS" > /dev/null || fail "docker compose stop failed (above)"
    fi
    # Volumes stay.
    compose down > /dev/null || fail "docker compose could not remove the containers: they may still run"
    say "project $CONTAINER has stopped"
}

check_compose() {
    compose_found=$(compose_ids) || fail "docker did not answer within $CHECK_SECONDS s"
    [ -n "$compose_found" ] || fail "project $CONTAINER has no containers"
    for compose_id in $compose_found; do
        compose_state=$(state_of "$compose_id")
        [ "$compose_state" = running ] || fail "container $compose_id of project $CONTAINER is ${compose_state:-not there}"
        case $(health_of "$compose_id") in unhealthy) fail "container $compose_id of project $CONTAINER is unhealthy" ;; esac
    done
}
