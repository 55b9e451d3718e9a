# Firebird (SuperServer): what start, stop and check-sql share.
# Reads FB_USER, FB_SERVER, FB_DATABASES, FB_PASSWORD_FILE, FB_PORT, FB_UNIT, FB_DIRECTORIES_OF_DATA, FB_LOCKS.
# shellcheck shell=sh
FB_USER=${FB_USER:-firebird}
FB_SERVER=${FB_SERVER:-/usr/sbin/firebird}
FB_DATABASES=${FB_DATABASES:-}
FB_PASSWORD_FILE=${FB_PASSWORD_FILE:-/etc/firebird/3.0/SYSDBA.password}
FB_PORT=${FB_PORT:-3050}
FB_UNIT=${FB_UNIT:-auto}
FB_LOCKS=${FB_LOCKS:-/tmp/firebird}
FB_ALIASES=${FB_ALIASES:-/etc/firebird/3.0/databases.conf}
CHECK_SECONDS=${CHECK_SECONDS:-4}
# Read by wait_ready as well.
export UNIT_USED=

find_server() {
    must_be_user "$FB_USER"
    [ -x "$FB_SERVER" ] || fail "there is no $FB_SERVER on this node: install Firebird's server (SuperServer), or correct FB_SERVER"
    fb_isql=
    for fb_name in isql-fb /opt/firebird/bin/isql; do
        if [ -z "$fb_isql" ] && has "$fb_name"; then fb_isql=$fb_name; fi
    done
    [ -n "$fb_isql" ] || fail "isql-fb is not on this node: install Firebird's client programs (Debian: firebird3.0-utils)"
    case $FB_UNIT in
        none) ;;
        auto)
            for fb_unit in firebird3.0.service firebird.service firebird-superserver.service; do
                if [ -z "$UNIT_USED" ] && unit_is_there "$fb_unit"; then UNIT_USED=$fb_unit; fi
            done
            ;;
        *)
            if systemd_runs; then
                unit_is_there "$FB_UNIT" || fail "systemd knows no unit '$FB_UNIT': correct FB_UNIT, or set it to \"auto\" or \"none\""
                UNIT_USED=$FB_UNIT
            fi
            ;;
    esac
}

# Firebird's own processes: of the unit, or what was launched.
processes() {
    if [ -n "$UNIT_USED" ]; then unit_pid "$UNIT_USED"; else launched firebird; fi
}

# ask DATABASE QUERY, over the network as every client does.
ask() {
    [ -r "$FB_PASSWORD_FILE" ] || {
        printf 'cannot read %s, which holds ISC_USER and ISC_PASSWORD: copy it from the node where Firebird was installed first (mode 0600)\n' "$FB_PASSWORD_FILE"
        return 1
    }
    (
        # shellcheck disable=SC1090
        . "$FB_PASSWORD_FILE"
        export ISC_USER ISC_PASSWORD
        printf 'SET HEADING OFF;\n%s;\n' "$2" | limited "$CHECK_SECONDS" root "$fb_isql" -bail -quiet "localhost/$FB_PORT:$1" 2>&1
    )
}
