# MySQL: what its programs and units are called.
# shellcheck shell=sh disable=SC2034
PRODUCT=MySQL
SERVER_PROGRAMS="mysqld"
PROCESS_NAMES="mysqld"
CLIENT_PROGRAMS="mysql"
ADMIN_PROGRAMS="mysqladmin"
UNITS="mysql.service mysqld.service"
