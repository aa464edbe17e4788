"""Commands for daily operation: what made this model, what is missing on this machine."""
