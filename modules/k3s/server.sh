# k3s, one server whose datastore (SQLite) is replicated.
# Reads K3S_UNIT, K3S_DATA, K3S_NODE, K3S_OPTIONS, DRAIN_SECONDS.
# shellcheck shell=sh
K3S_UNIT=${K3S_UNIT:-auto}
K3S_DATA=${K3S_DATA:-/var/lib/rancher/k3s}
K3S_NODE=${K3S_NODE:-$(uname -n | tr '[:upper:]' '[:lower:]')}
K3S_OPTIONS=${K3S_OPTIONS:-}
DRAIN_SECONDS=${DRAIN_SECONDS:-30}
CHECK_SECONDS=${CHECK_SECONDS:-4}
# Read by wait_ready as well.
export UNIT_USED=

find_server() {
    need k3s "install it with INSTALL_K3S_SKIP_ENABLE=true and INSTALL_K3S_SKIP_START=true, the same version on both nodes"
    case $K3S_UNIT in
        none) ;;
        auto) if unit_is_there k3s.service; then UNIT_USED=k3s.service; fi ;;
        *) if systemd_runs; then UNIT_USED=$K3S_UNIT; fi ;;
    esac
}

kube() { timeout -k 1 "$CHECK_SECONDS" k3s kubectl "$@"; }
answers() { [ -n "$(running)" ] && kube get --raw /readyz > /dev/null 2>&1; }
node_is_ready() { [ "$(kube get node "$K3S_NODE" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2> /dev/null)" = True ]; }

running() {
    if [ -n "$UNIT_USED" ]; then
        case $(systemctl is-active "$UNIT_USED" 2> /dev/null || :) in active | activating | reloading) say "$UNIT_USED" ;; esac
    else
        launched k3s
    fi
}
