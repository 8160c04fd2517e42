"""A sweep from validated settings to logged results: plan, preflight, run, record, publish and resume."""
