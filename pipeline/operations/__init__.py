"""What those who run the pipeline day by day ask: what made this model, what is missing on this machine."""
