"""What can be measured at one point of a training: pure functions of objectives and steps."""
