# A teacher of autoencoders: what does the code keep, and what does the model give back?
rnnae-bench run --task "reconstruct:smoke[protocol.max_steps=40,protocol.evaluate_every=20]" --model conv_ae --keep weights
rnnae-bench results --html page.html
