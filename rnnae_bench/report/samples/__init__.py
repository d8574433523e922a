"""What a model made of the test set, drawn: a file a kind of answer."""
