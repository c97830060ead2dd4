"""Header fields as their standards define them: pure functions, a module for each standard."""
