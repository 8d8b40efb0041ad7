"""Languages of captions: their tags, their letters, and the models that read them. Imports no engine."""
