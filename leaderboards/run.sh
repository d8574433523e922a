#!/usr/bin/env bash
# Makes the records in leaderboards/records (what is there already is not run again) and the page over them.
set -euo pipefail
cd "$(dirname "$0")/.."
run() { rnnae-bench run --out leaderboards/records --threads 1 --seeds 3 "$@" >/dev/null; }
for task in copy sine names denoise; do
    for model in rnn lstm gru; do
        run --task "$task" --model "$model"
    done
done
run --task denoise --model dense_ae
run --task denoise --model conv_ae
{
    cat leaderboards/heading.md
    rnnae-bench results leaderboards/records --markdown
} >leaderboards/README.md
