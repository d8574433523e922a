"""Where else results go while they come in: W&B, CSV and TensorBoard; and the way back from W&B to records."""
