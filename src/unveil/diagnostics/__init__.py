"""How far a model reads, and what appended masks cost it: probes, their readings, a report."""
