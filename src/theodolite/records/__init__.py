"""What was measured: results as values, and the run store. Knows NumPy, never torch."""
