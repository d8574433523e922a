# A maintainer of a leaderboard: what do the records say, does a row come out the same, and what does the site show?
rnnae-bench run --task "copy:smoke[protocol.max_steps=10,protocol.evaluate_every=10]" --model "gru[hidden_size=8]" --seeds 2
rnnae-bench leaderboard show
rnnae-bench leaderboard build --from runs --out site
