# A researcher with a cell of her own, here the example plugin's: is it better than a GRU of one size, and why?
rnnae-bench show leaky
rnnae-bench run --task "copy:smoke[protocol.max_steps=10,protocol.evaluate_every=10]" --model "leaky[hidden_size=16]" --seeds 2
rnnae-bench run --task "copy:smoke[protocol.max_steps=10,protocol.evaluate_every=10]" --model "gru[hidden_size=16]" --seeds 2
rnnae-bench compare "leaky[hidden_size=16]" "gru[hidden_size=16]"
rnnae-bench figure gradients --out gradients.svg
rnnae-bench results --latex
