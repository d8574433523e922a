# A teacher of autoencoders: what does the code keep, what does the model give back, and a figure for the slides.
rnnae-bench run --task "reconstruct:smoke[protocol.max_steps=40,protocol.evaluate_every=20]" --model conv_ae --keep weights
rnnae-bench results --html page.html
rnnae-bench figure curves --out curves.pdf
