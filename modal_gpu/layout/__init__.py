"""Layout analysis: the place of a video's captions, found from the text in its full frames."""
