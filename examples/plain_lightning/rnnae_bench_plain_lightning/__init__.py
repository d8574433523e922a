"""A LightningModule of somebody's, and what makes it a model of rnnae-bench."""
