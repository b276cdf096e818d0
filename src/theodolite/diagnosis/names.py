"""What are the cures called that the rules ask for?"""

CLIPPING = "clipping"
"""It cuts the greatest gradients."""

FRESH_START = "fresh start"
"""It begins with new parameters."""

SHORTER_STEPS = ("step × 0.01", "step × 0.1", "step × 0.3")
"""They shorten the step."""

ALONG_CURVATURE = "move along negative curvature"
"""It steps off a saddle."""

LARGER_BATCH = "batch × 8"
"""It tells noise from steps that are too long."""

LONGER_STEPS = ("step × 3", "step × 10")
"""They lengthen the step by what a user might."""

NORMALISED = "inputs normalised"
"""It gives features mean zero and variance one."""

RENEWED = "dead units re-initialised"
"""It gives dead units fresh incoming weights."""

AGAIN = "from its start again"
"""It repeats the beginning of the run, at its greatest rate."""

AGAIN_SHORTER = ("from its start, step × 0.1", "from its start, step × 0.01")
"""They begin the run again with shorter steps."""
