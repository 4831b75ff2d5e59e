"""The sections of the demo's report: each a function from an experiment to what is shown of it."""
