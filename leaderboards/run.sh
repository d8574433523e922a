#!/usr/bin/env bash
# Makes the leaderboard's records, all built-in models on the four tasks they support, five seeds each, and submits them.
# Prints the plan first. About 50 minutes on two cores; stopped at any time, the same command goes on.
# Arguments go to each sweep (--dry-run: the plan only).
set -euo pipefail
cd "$(dirname "$0")/.."
runs=runs/leaderboard
denoising=(--task denoise --model dense_ae --model conv_ae)
recurrent=(--task copy --task sine --task denoise --task names --model rnn --model lstm --model gru)
common=(--seeds 5 --threads 1 --vectorize off --out "$runs" "$@")
rnnae-bench sweep "${denoising[@]}" "${common[@]}" --dry-run
rnnae-bench sweep "${recurrent[@]}" "${common[@]}" --dry-run
[[ " $* " == *" --dry-run "* ]] && exit
rnnae-bench sweep "${denoising[@]}" "${common[@]}"
rnnae-bench sweep "${recurrent[@]}" "${common[@]}"
rnnae-bench leaderboard submit "$runs"
