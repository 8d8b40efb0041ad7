"""From caption frame ranges to text, and from captions to subtitle files."""
