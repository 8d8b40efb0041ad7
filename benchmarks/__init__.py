"""Speed and caption quality, against truth."""
