# An engineer with a cluster: many trials over one folder, what was done stays done, and tables say what it cost.
rnnae-bench sweep --task "copy:smoke[protocol.max_steps=10,protocol.evaluate_every=10]" --model "gru[hidden_size=8]" --seeds 2 --workers 1
rnnae-bench results --csv
rnnae-bench query "select count(*) trials from trials"
