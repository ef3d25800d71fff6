"""Who runs when: jobs, the journal that never loses one, the worker that holds the engine. Knows nothing of HTTP."""
