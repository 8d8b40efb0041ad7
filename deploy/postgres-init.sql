-- Run once by the postgres container of compose.yaml, when its volume is empty: Dagster's tables have a database
-- of their own beside the catalogue's, so that each can be backed up, moved and restored by itself.
create database dagster;
