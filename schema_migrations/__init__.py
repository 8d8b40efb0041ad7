"""A developer's tool: writes the next migration from what changed in ``supabase/schemas``."""
