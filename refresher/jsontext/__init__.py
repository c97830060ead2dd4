"""JSON as text: checked, searched, compared and patched without being made into objects."""
