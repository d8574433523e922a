"""Many trials: from what is asked for, over the executors that run them, to a record for each."""
