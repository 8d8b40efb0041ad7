create or replace function captionacc.reserve_cost(
    p_video_id uuid,
    p_run_id text,
    p_function_name text,
    p_estimate_usd numeric,
    p_video_limit_usd numeric default null,
    p_month_limit_usd numeric default null,
    p_life_seconds double precision default 86400,
    p_frame_count bigint default null
) returns table (granted boolean, message text, reserved_usd numeric)
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    -- Locks the video before the tenant, as all functions do that lock both.
    video videos := _locked_video(p_video_id);
    costs record;
    paid numeric;
    needed numeric;
    video_spent numeric;
    others_reserved numeric;
    refusal text;
begin
    perform _check_text(p_run_id, 'the run id');
    perform _check_text(p_function_name, 'the function''s name');
    if not coalesce(p_estimate_usd >= 0 and p_estimate_usd < 'infinity', false) then
        raise exception '% is not a cost', coalesce(p_estimate_usd::text, 'null') using errcode = 'CA010';
    end if;
    if not coalesce(p_life_seconds > 0, false) then
        raise exception 'a life of % s is not usable', coalesce(p_life_seconds::text, 'null') using errcode = 'CA010';
    end if;
    perform from tenants where id = video.tenant_id for no key update;

    -- Results that an earlier attempt paid for and this one will reuse are not paid again.
    select coalesce(sum(c.cost_usd), 0) into paid from compute_calls c
    where c.video_id = p_video_id and c.function_name = p_function_name
        and c.status = 'succeeded' and c.settled_at is null
        and c.finished_at > clock_timestamp() - make_interval(secs => p_life_seconds);
    needed := greatest(p_estimate_usd - paid, 0);

    select * into costs from tenant_costs(video.tenant_id, p_video_limit_usd, p_month_limit_usd);
    select coalesce(sum(m.cost_estimate_usd), 0) into video_spent from usage_metrics m
    where m.video_id = p_video_id and m.cost_estimate_usd > 0;
    select coalesce(sum(r.amount_usd), 0) into others_reserved from cost_reservations r
    where r.video_id = p_video_id and r.function_name <> p_function_name and r.expires_at > clock_timestamp();
    video_spent := video_spent + others_reserved;
    if video_spent + needed > costs.video_limit_usd then
        refusal := format(
            '%s of video %s would cost about $%s, and $%s of the $%s that a video may cost are spent or reserved: '
            'raise the limit with `captionacc cost limit --tenant %s --video-usd %s`, then retry the video',
            p_function_name, p_video_id, _usd(needed), _usd(video_spent), _usd(costs.video_limit_usd),
            video.tenant_id, _usd(ceil(video_spent + needed)));
    else
        -- The reservation that an earlier attempt left for this function is replaced and does not count.
        select coalesce(sum(r.amount_usd), 0) into others_reserved from cost_reservations r
        where r.tenant_id = video.tenant_id and r.expires_at > clock_timestamp()
            and (r.video_id, r.function_name) <> (p_video_id, p_function_name);
        if costs.month_spent_usd + others_reserved + needed > costs.month_limit_usd then
            refusal := format(
                '%s of video %s would cost about $%s, and $%s of the $%s that tenant %s may cost in a month (UTC) are '
                'spent or reserved: retry the video next month, or raise the limit with '
                '`captionacc cost limit --tenant %s --month-usd %s` and then retry it',
                p_function_name, p_video_id, _usd(needed), _usd(costs.month_spent_usd + others_reserved),
                _usd(costs.month_limit_usd), video.tenant_id, video.tenant_id,
                _usd(ceil(costs.month_spent_usd + others_reserved + needed)));
        end if;
    end if;

    if refusal is not null then
        -- Not raised, because an exception would undo the rejection.
        if not exists (
            select from caption_frame_extents_inference_rejections j
            where j.video_id = p_video_id and j.run_id = p_run_id and j.message = refusal
        ) then
            perform record_rejection(video.tenant_id, 'cost_exceeded', refusal, p_video_id, p_run_id => p_run_id,
                p_frame_count => p_frame_count, p_estimated_cost_usd => needed);
        end if;
        return query select false, refusal, 0::numeric;
        return;
    end if;
    insert into cost_reservations as r (video_id, function_name, tenant_id, run_id, amount_usd, expires_at)
    values (p_video_id, p_function_name, video.tenant_id, p_run_id, needed,
        clock_timestamp() + make_interval(secs => p_life_seconds))
    on conflict (video_id, function_name) do update set
        run_id = excluded.run_id, amount_usd = excluded.amount_usd, reserved_at = clock_timestamp(),
        expires_at = excluded.expires_at;
    return query select true, ''::text, needed;
end
$$;
comment on function captionacc.reserve_cost(
    uuid, text, text, numeric, numeric, numeric, double precision, bigint
) is
    'Reserve the expected cost of a function''s calls for a video. Over a limit nothing is reserved: '
    'granted is false, message says what to do, and a rejection is recorded.';
