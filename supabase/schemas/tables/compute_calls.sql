-- Durable calls of compute functions. A row is written before the backend is asked, so that whoever
-- asks for the same again finds the call that runs, or its result, instead of paying twice.
--
--   pending     written; the backend's id of the call is not known yet
--   running     the backend has it under call_id
--   succeeded   its result is here, to be taken by who asks the same, until it is settled
--   failed      the function failed, or its result is lost
--   cancelled   nobody wants it any more; cancel_delivered_at says when the backend was told
--
-- The waiter is a token of one attempt, made by it. Of two attempts that ask the same, the later one is
-- the waiter: only it may start the call, fail it and cancel it. Any of them may bring the result.

create table captionacc.compute_calls (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null references captionacc.tenants (id),
    video_id uuid references captionacc.videos (id) on delete cascade,
    run_id text not null,
    function_name text not null,
    backend text not null check (backend in ('local', 'modal')),
    request_hash text not null,
    call_id text,
    status text not null default 'pending'
        check (status in ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
    result jsonb,
    error_details jsonb,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    updated_at timestamptz not null default now(),
    waiter uuid,
    opened_at timestamptz not null default now(),
    attempts integer not null default 1 check (attempts >= 1),
    cropped_frames_version integer check (cropped_frames_version >= 1),
    usage jsonb check (jsonb_typeof(usage) = 'object'),
    finished_by uuid,
    settled_at timestamptz,
    cancel_delivered_at timestamptz,
    cost_usd numeric check (cost_usd >= 0),
    charged_at timestamptz,
    constraint compute_calls_running check (status <> 'running' or call_id is not null),
    constraint compute_calls_succeeded check (status <> 'succeeded' or result is not null),
    constraint compute_calls_finished check ((status in ('pending', 'running')) = (finished_at is null)),
    constraint compute_calls_charged check ((cost_usd is null) = (charged_at is null))
);
comment on table captionacc.compute_calls is
    'Calls of compute functions, written before they are waited for, so that a retried run finds the one that is running.';
comment on column captionacc.compute_calls.call_id is 'The backend''s own id of the call; null until it is known.';
comment on column captionacc.compute_calls.request_hash is 'Equal for equal requests: a retry re-attaches by it.';
comment on column captionacc.compute_calls.run_id is 'The run that waits for it, or waited last.';
comment on column captionacc.compute_calls.waiter is 'Token of the attempt that waits for it, or waited last.';
comment on column captionacc.compute_calls.opened_at is 'When the last attempt that may start it asked for it.';
comment on column captionacc.compute_calls.attempts is 'How many attempts asked for it; it is paid once.';
comment on column captionacc.compute_calls.cropped_frames_version is
    'The version that the call writes or reads; one version can have many calls, one a segment.';
comment on column captionacc.compute_calls.usage is
    'What the function says it used: gpu, seconds, cold_start_seconds. Null when it could not say.';
comment on column captionacc.compute_calls.finished_by is 'Waiter that brought the result.';
comment on column captionacc.compute_calls.settled_at is
    'When what was made of the result was published: asking the same again is a new call from then on.';
comment on column captionacc.compute_calls.cancel_delivered_at is
    'When the backend confirmed a cancellation; until then the call may still run.';
comment on column captionacc.compute_calls.cost_usd is
    'What the call cost, by the price table; its row in usage_metrics says how much of what.';
create index compute_calls_by_video on captionacc.compute_calls (video_id);
create unique index compute_calls_open on captionacc.compute_calls (video_id, function_name, request_hash)
    where status in ('pending', 'running');
create index compute_calls_to_take on captionacc.compute_calls (video_id, function_name, request_hash)
    where status = 'succeeded' and settled_at is null;
create unique index compute_calls_by_call_id on captionacc.compute_calls (backend, call_id) where call_id is not null;
create index compute_calls_open_by_run on captionacc.compute_calls (run_id) where status in ('pending', 'running');
create index compute_calls_undelivered on captionacc.compute_calls (finished_at)
    where status = 'cancelled' and call_id is not null and cancel_delivered_at is null;
create index compute_calls_uncharged on captionacc.compute_calls (finished_at)
    where finished_at is not null and charged_at is null and backend = 'modal';
alter table captionacc.compute_calls enable row level security;
