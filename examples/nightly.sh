#!/bin/sh
# A batch every night from cron, for those who schedule with cron rather than with beat:
#
#     30 2 * * 1-5  cd /srv/app && /srv/app/nightly.sh >>/var/log/nightly.log 2>&1
#
# Given again after an interruption, the same command goes on where it stopped. LANE=batch asks in message batches, at
# half the price, which may take hours; set it where nobody waits for the results.
set -eu
day=$(date +%Y-%m-%d)
out=${OUT:-results-$day.jsonl}
cf-workers batch "${1:-.claude/batches/nightly.jsonl}" --out "$out" --lane "${LANE:-background}"
