"""The SQLite files that the stages hand to each other and to the annotation web app.

One module a file; each holds its schema (DDL) and typed functions that write and read whole files.
Tables can be adopted by a CRDT sync layer: NOT NULL columns have defaults, primary keys are real and
NOT NULL, and there are no other UNIQUE constraints on the tables that clients sync.
"""
