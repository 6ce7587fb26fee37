#!/bin/sh
# Runs a broker for as long as somebody holds the other end of standard input, and not a moment longer: the tests close
# it, or die and it is closed for them. `keep` on standard input keeps the data for another start.
#   broker.sh DIR COMMAND…
dir=$1; shift
"$@" </dev/null 2>&1 &
pid=$!
exec >/dev/null 2>&1
trap '' HUP INT TERM
read -r word
while read -r _; do :; done
kill -9 "$pid"
wait "$pid"
[ "$word" = keep ] || { rm -rf "$dir"; rmdir "${dir%/*}"; }
