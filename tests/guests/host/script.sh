#!/bin/bash
# A shell script: pipelines, substitution, background jobs, traps, a here-document.
set -euo pipefail
steps=${1:-5}
total=0
trap 'got=yes' USR1
for ((s = 0; s < steps; s++)); do
    n=$(seq 1 $((50 + s)) | awk '{ t += $1 } END { print t }')
    total=$((total + n))
    (exit $((s % 7))) && code=0 || code=$?
    total=$((total + code))
    sleep 0.01 & wait $!
    got=no
    kill -USR1 $$
    [[ $got == yes ]]
    words=$(cat <<TEXT | tr a-z A-Z | wc -c
step $s of a script
TEXT
    )
    total=$((total + words))
    [[ $(sh -c 'echo $PPID') == "$BASHPID" ]]
    echo "step $s of $steps"
done
echo "digest $(echo "$total $(basename "$0")" | md5sum | cut -c1-16)"
