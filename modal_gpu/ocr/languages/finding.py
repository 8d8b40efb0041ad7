"""The finding that captions are there which OCR cannot read. Imports nothing."""

#: The finding that asks for a language. It ends with a full stop, or with details before it.
UNREADABLE = "Captions are there, but the OCR model in use cannot read their script: set OCR_LANGUAGE"
