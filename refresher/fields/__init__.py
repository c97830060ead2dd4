"""Header fields and URLs as their standards define them: pure functions, a standard each."""
