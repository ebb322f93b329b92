#!/bin/sh
# Runs the batch and writes the report, whatever became of the batch. PROFILE, DATA, ITEMS and JOBS come from the Makefile.
set -u
if [ -n "${DATA:-}" ]; then
    PAPER_REPRO_DATA=$(cd "$DATA" 2>/dev/null && pwd) || { echo "DATA=$DATA is not a folder." >&2; exit 2; }
    export PAPER_REPRO_DATA
fi
paper_repro run ${ITEMS:-} --profile "$PROFILE" ${JOBS:+--jobs "$JOBS"}
run=$?
paper_repro report
report=$?
[ "$run" -ne 0 ] && exit "$run"
exit "$report"
