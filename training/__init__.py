"""How the shipped caption frame extents model was made, and can be made again."""
