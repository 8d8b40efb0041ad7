-- Durable calls of compute functions. A row is written before the backend is called, so that a repeated
-- request finds the running call or its result instead of paying twice.
--
--   pending     written; the backend's id of the call is not known yet
--   running     the backend runs it under call_id
--   succeeded   its result is stored for the next equal request, until it is settled
--   failed      the function failed, or its result was lost
--   cancelled   no longer wanted; cancel_delivered_at is the time when the backend confirmed
--
-- The waiter is a token that an attempt creates for itself. Of two attempts with equal requests, the later one
-- is the waiter: only the waiter may start, fail and cancel the call. Any of them may deliver the result.

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
    'Calls of compute functions, written before anything waits for them, so that a retried run finds a '
    'running call.';
comment on column captionacc.compute_calls.call_id is
    'The backend''s id of the call; null until it is known.';
comment on column captionacc.compute_calls.request_hash is
    'Equal for equal requests: a retry finds the call by it.';
comment on column captionacc.compute_calls.run_id is 'The run that waits for the call, or waited last.';
comment on column captionacc.compute_calls.waiter is
    'Token of the attempt that waits for the call, or waited last.';
comment on column captionacc.compute_calls.opened_at is
    'When the last attempt that may start the call requested it.';
comment on column captionacc.compute_calls.attempts is
    'Number of attempts that requested the call; it is paid once.';
comment on column captionacc.compute_calls.cropped_frames_version is
    'The version that the call writes or reads. A version can have many calls, one for each segment.';
comment on column captionacc.compute_calls.usage is
    'What the function reported as used: gpu, seconds, cold_start_seconds. Null if it reported nothing.';
comment on column captionacc.compute_calls.finished_by is 'Waiter that delivered the result.';
comment on column captionacc.compute_calls.settled_at is
    'When the results that depend on the call were published: the same request is a new call from then '
    'on.';
comment on column captionacc.compute_calls.cancel_delivered_at is
    'When the backend confirmed a cancellation; until then the call may still run.';
comment on column captionacc.compute_calls.cost_usd is
    'Cost of the call by the price table; its row in usage_metrics has the amounts.';
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
