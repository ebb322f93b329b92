#!/bin/sh
# Runs the batch, which writes the report in the end, whatever became of its items. PROFILE, DATA, ITEMS and JOBS come from the Makefile.
set -u
if [ -n "${DATA:-}" ]; then
    PAPER_REPRO_DATA=$(cd "$DATA" 2>/dev/null && pwd) || { echo "DATA=$DATA is not a folder." >&2; exit 2; }
    export PAPER_REPRO_DATA
fi
# smoke items are small: one a core, at most four at once, beats one item on all cores, and by far where the cores have other work too
if [ -z "${JOBS:-}" ] && [ "$PROFILE" = smoke ]; then
    JOBS=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
    [ "$JOBS" -le 4 ] || JOBS=4
fi
exec paper_repro run ${ITEMS:-} --profile "$PROFILE" ${JOBS:+--jobs "$JOBS"}
