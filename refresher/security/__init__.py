"""What keeps secrets out of sight and strangers out: redaction, tokens, cuts of foreign text."""
