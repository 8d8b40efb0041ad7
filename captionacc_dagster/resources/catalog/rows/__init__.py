"""The catalogue's rows as dataclasses. Times are aware and in UTC."""
