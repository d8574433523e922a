"""Where models, tasks and probes come from: entry points, read without importing what they name, and their code."""
