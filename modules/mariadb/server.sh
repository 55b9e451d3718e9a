# MariaDB: what its programs and units are called.
# shellcheck shell=sh disable=SC2034
PRODUCT=MariaDB
SERVER_PROGRAMS="mariadbd mysqld"
PROCESS_NAMES="mariadbd mysqld"
CLIENT_PROGRAMS="mariadb mysql"
ADMIN_PROGRAMS="mariadb-admin mysqladmin"
UNITS="mariadb.service mysql.service mysqld.service"
