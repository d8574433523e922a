#!/usr/bin/env bash
# One machine's part of a trial on several: torchrun.sh NODES RANK ADDRESS [options of rnnae-bench run]
# ADDRESS is that of the machine with rank 0. DEVICES is how many devices each machine has.
set -euo pipefail
nodes=$1 rank=$2 address=$3
shift 3
devices=${DEVICES:-1}
exec python -m torch.distributed.run \
  --nnodes "$nodes" --node-rank "$rank" --nproc-per-node "$devices" \
  --master-addr "$address" --master-port "${PORT:-29500}" \
  -m rnnae_bench run --trainer.strategy ddp --trainer.num_nodes "$nodes" --trainer.devices "$devices" "$@"
