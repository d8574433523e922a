"""Many trials: from what the user asks for to a record for each."""
