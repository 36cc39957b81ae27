"""Tasks whose answers are programs, run in a sandbox."""
