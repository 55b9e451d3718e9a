# Apache: what it is called, and how it runs without a unit.
# shellcheck shell=sh disable=SC2034
PRODUCT=Apache
PROGRAM=apache2
PROCESS_NAMES="apache2 httpd"
UNITS="apache2.service httpd.service apache-htcacheclean.service"
# Graceful: workers end with their last request.
LEAVE=WINCH

if ! command -v apache2 > /dev/null 2>&1; then
    PROGRAM=httpd
fi
# Debian keeps in a file what its configuration refers to.
if [ -r /etc/apache2/envvars ]; then
    # It reads variables that may be unset.
    set +u
    # shellcheck disable=SC1091
    . /etc/apache2/envvars
    set -u
    mkdir -p "$APACHE_RUN_DIR" "${APACHE_LOCK_DIR:-$APACHE_RUN_DIR}"
fi

test_configuration() { "$PROGRAM" ${WEB_CONFIG:+-f "$WEB_CONFIG"} -t; }
command_line() { launch web root "$PROGRAM" ${WEB_CONFIG:+-f "$WEB_CONFIG"} -DFOREGROUND; }
