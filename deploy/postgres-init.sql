-- Run once by the postgres container of compose.yaml, when its volume is empty. Dagster's tables have a database of
-- their own next to the catalogue's, so that each can be backed up, moved and restored separately.
create database dagster;
