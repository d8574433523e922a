#!/usr/bin/env bash
# Makes the records in leaderboards/records (what is there already is not run again) and the page over them.
set -euo pipefail
cd "$(dirname "$0")/.."
for pair in copy/rnn copy/lstm copy/gru denoise/dense_ae denoise/conv_ae denoise/gru names/gru; do
    rnnae-bench run --out leaderboards/records --threads 1 --seeds 3 --task "${pair%/*}" --model "${pair#*/}" >/dev/null
done
{
    cat leaderboards/heading.md
    rnnae-bench results leaderboards/records --markdown
} >leaderboards/README.md
