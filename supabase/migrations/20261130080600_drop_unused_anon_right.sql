revoke select (time_spans) on table captionacc.videos from anon;
