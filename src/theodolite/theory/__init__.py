"""What is known exactly: closed forms against which measurements are held. Knows NumPy and SciPy, never torch."""

from theodolite.theory.quadratic import descent_factor, flow_factor, quadratic_descent, quadratic_flow

__all__ = ["descent_factor", "flow_factor", "quadratic_descent", "quadratic_flow"]
