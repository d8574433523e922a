# A student of the course: why does a plain network not learn over time, and what do gates change?
rnnae-bench show rnn
rnnae-bench probe rnn "copy:smoke" --model.hidden_size 16 --model.initialization pytorch --out pytorch.png
rnnae-bench run --task "copy:smoke[protocol.max_steps=40,protocol.evaluate_every=20]" --model "gru[hidden_size=16]"
