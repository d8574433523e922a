"""An example plugin of rnnae-bench: the model `leaky` and the task `parity`."""
