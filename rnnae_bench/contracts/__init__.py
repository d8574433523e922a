"""What a plugin builds on: the spec of a task, its card, and the base classes of tasks and models."""
