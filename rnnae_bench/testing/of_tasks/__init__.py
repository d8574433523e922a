"""What is asked in the exam of a task, one subject a file; `rnnae_bench.testing.task_exam` has the list."""
