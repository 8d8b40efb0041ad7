"""Text recognition in images: the engines behind one protocol, and the pool of workers that runs them."""
