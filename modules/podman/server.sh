# podman needs no daemon.
# shellcheck shell=sh disable=SC2034
ENGINE=podman
