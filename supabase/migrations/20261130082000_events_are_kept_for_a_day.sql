comment on table captionacc.events is 'Changes of videos, their databases, locks and jobs, for the live events of the API; kept for a day.';
