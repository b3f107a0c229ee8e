#!/bin/sh
# Starts NATS so that it takes each password, and its own name, as they are:
#
#   nats-start.sh VARIABLE... -- ARGUMENT...
#
# NATS reads the text of an environment variable as configuration: 12e4 becomes a number, $x a variable, and } or a space an
# error. So the text of each VARIABLE is replaced by itself as a quoted string of escaped bytes; then nats-server runs with the
# ARGUMENTS. ROUTE_HOSTS (host:port, separated by spaces) become ROUTES, with ROUTE_PASSWORD percent-encoded.
set -eu

# Each byte as two hexadecimal digits behind $2.
bytes() {
  escaped=
  for byte in $(printf %s "$1" | od -An -v -tx1); do
    escaped="$escaped$2$byte"
  done
  printf %s "$escaped"
}

fail() {
  echo "nats-start.sh: $1" >&2
  exit 1
}

route_password=${ROUTE_PASSWORD-}
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  eval "text=\${$1-}"
  case $text in
    '') fail "$1: expected a text, got none. Check the secret's keys." ;;
    '$2'[abxy]'$'[0-9][0-9]'$'*)
      fail "$1: expected a password, got what NATS takes for the bcrypt hash of another one. Use a password that does not begin so." ;;
  esac
  export "$1=\"$(bytes "$text" '\x')\""
  shift
done
[ $# -gt 0 ] && shift

if [ -n "${ROUTE_HOSTS-}" ]; then
  routes=
  for host in $ROUTE_HOSTS; do
    routes="$routes\"nats://route:$(bytes "$route_password" %)@$host\","
  done
  export ROUTES="[${routes%,}]"
fi

exec nats-server "$@"
