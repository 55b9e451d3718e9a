# nginx: what it is called, and how it runs without a unit.
# shellcheck shell=sh disable=SC2034
PRODUCT=nginx
PROGRAM=nginx
PROCESS_NAMES=nginx
UNITS=nginx.service
# Graceful: workers end with their last request.
LEAVE=QUIT

test_configuration() { nginx -t -q ${WEB_CONFIG:+-c "$WEB_CONFIG"}; }
command_line() { launch web root nginx ${WEB_CONFIG:+-c "$WEB_CONFIG"} -g 'daemon off;'; }
