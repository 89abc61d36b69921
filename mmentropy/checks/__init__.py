"""What an argument, a config or a data folder may be."""
