#!/bin/sh
# gpuckpt launch inside a launched script: the inner one is a job of its own.
# Arguments: gpuckpt, image folder, program, its arguments.
set -eu
gpuckpt=$1 dir=$2
shift 2
echo "before"
"$gpuckpt" launch --name nested --dir "$dir" --device none -- "$@"
echo "after"
exec "$gpuckpt" launch --name nested2 --dir "$dir" --device none -- "$@"
