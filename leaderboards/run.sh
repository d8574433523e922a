#!/usr/bin/env bash
# Makes the leaderboard's records, all built-in models on the four tasks they support, five seeds each, and submits them.
# About an hour on two cores; stopped at any time, the same command goes on. Arguments go to each sweep (--dry-run: the plan).
set -euo pipefail
cd "$(dirname "$0")/.."
runs=runs/leaderboard
common=(--seeds 5 --threads 1 --vectorize off --out "$runs" "$@")
rnnae-bench sweep --task denoise --model dense_ae --model conv_ae "${common[@]}"
rnnae-bench sweep --task copy --task sine --task denoise --task names --model rnn --model lstm --model gru "${common[@]}"
[[ " $* " == *" --dry-run "* ]] || rnnae-bench leaderboard submit "$runs"
