"""The SQLite files that the stages exchange with each other and with the annotation web app.

There is one module per file, with its schema (DDL) and typed functions that write and read complete files.
A CRDT sync layer can adopt the tables: NOT NULL columns have defaults, every table has an explicit NOT NULL
primary key, and the tables that clients sync have no other UNIQUE constraints.
"""
