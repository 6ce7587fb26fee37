#!/bin/sh
# Asks the server in this container: 0 when PATH is answered with success, else not 0. The answer says why.
#   martingale-probe readyz
# /healthz needs no token and can be asked by others; /readyz needs it, which nothing outside should have to know.
set -eu
token=
if [ -n "${MARTINGALE__AUTH__TOKEN_FILE:-}" ]; then
    token=$(cat "$MARTINGALE__AUTH__TOKEN_FILE")
fi
# On standard input, because arguments of a process can be read by others.
printf 'header = "Authorization: Bearer %s"\n' "$token" |
    curl --silent --show-error --fail-with-body --max-time 5 --config - \
        "http://127.0.0.1:${MARTINGALE__SERVER__HTTP##*:}/$1"
