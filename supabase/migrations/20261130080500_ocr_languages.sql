alter table captionacc.tenants add column ocr_languages text[] default '{}'::text[] not null;

alter table captionacc.videos add column ocr_languages text[] default '{}'::text[] not null;

create or replace function captionacc._check_languages(p_languages text[]) returns void
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    tag text;
begin
    if p_languages is null or cardinality(p_languages) > 8 then
        raise exception 'a video has up to 8 languages, not %', coalesce(cardinality(p_languages), 0)
            using errcode = 'CA010';
    end if;
    foreach tag in array p_languages loop
        if coalesce(tag, '') !~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$' then
            raise exception '% is not a language tag', quote_literal(left(coalesce(tag, ''), 40))
                using errcode = 'CA010', hint = 'Give BCP-47 tags, such as ko or zh-Hant.';
        end if;
    end loop;
end
$$;

create or replace function captionacc.set_tenant_languages(p_tenant_id uuid, p_languages text[])
returns captionacc.tenants
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    result tenants;
begin
    perform _check_languages(p_languages);
    update tenants set ocr_languages = p_languages where id = p_tenant_id returning * into result;
    if result.id is null then
        raise exception 'tenant % is not in the catalogue', p_tenant_id using errcode = 'CA006';
    end if;
    return result;
end
$$;
comment on function captionacc.set_tenant_languages(uuid, text[]) is
    'Set the languages of the captions of a tenant''s videos, for videos that are read from now on. CA006, '
    'CA010.';

create or replace function captionacc.set_video_languages(p_video_id uuid, p_languages text[])
returns captionacc.videos
language plpgsql
set search_path = captionacc, pg_temp
as $$
declare
    video videos := _locked_video(p_video_id);
    result videos;
begin
    perform _check_languages(p_languages);
    if p_languages = video.ocr_languages then
        return video;
    end if;
    -- What was read in other languages is read again: frames while the layout waits for a person, and else the
    -- captions, whose layout and times do not depend on the language.
    update videos set
        ocr_languages = p_languages,
        layout_status = case when video.layout_status = 'annotate' then 'wait' else layout_status end,
        layout_requested_at =
            case when video.layout_status = 'annotate' then null else layout_requested_at end,
        layout_unstarted_requests =
            case when video.layout_status = 'annotate' then 0 else layout_unstarted_requests end,
        text_status = case when video.text_status = 'annotate' then 'wait' else text_status end,
        text_requested_at = case when video.text_status = 'annotate' then null else text_requested_at end,
        text_unstarted_requests =
            case when video.text_status = 'annotate' then 0 else text_unstarted_requests end
    where id = p_video_id
    returning * into result;
    perform _audit('set_video_languages', 'allowed', '', p_video_id,
        jsonb_build_object('from', to_jsonb(video.ocr_languages), 'to', to_jsonb(p_languages)));
    return result;
end
$$;
comment on function captionacc.set_video_languages(uuid, text[]) is
    'Set the languages of a video''s captions (none: its tenant''s). A layout that waits for a person, and '
    'captions that could not be read, are read again. Audited. CA007, CA010.';

alter table captionacc.tenants add constraint tenants_ocr_languages_check CHECK ((cardinality(ocr_languages) <= 8));

alter table captionacc.videos add constraint videos_ocr_languages_check CHECK ((cardinality(ocr_languages) <= 8));

revoke execute on function captionacc._check_languages(text[]) from public;

revoke execute on function captionacc.set_tenant_languages(uuid,text[]) from public;

revoke execute on function captionacc.set_video_languages(uuid,text[]) from public;

comment on column captionacc.tenants.ocr_languages is 'Languages of the captions of videos without their own, as BCP-47 tags; empty: the installation''s.';

comment on column captionacc.videos.ocr_languages is 'Languages of the captions as BCP-47 tags; empty: the tenant''s.';
