"""A video's captions in one process, by the functions of the graph, without anything stored."""
