# Docker: the daemon runs on both nodes; the container, or the Compose project (COMPOSE_FILE), on one.
# shellcheck shell=sh disable=SC2034
ENGINE=docker
COMPOSE_FILE_OF_MODULE=${COMPOSE_FILE_OF_MODULE:-}
