-- Reports that say the same whatever time zone their reader's session has.

-- An hour began where the reader's zone begins one: in Kolkata, half an hour off the sums, which then were not found.
create or replace view report.runner_utilisation with (security_barrier) as
with session as (
    select host, instance, slots, started_at, coalesce(ended_at, least(lease_expires_at, now())) as ended_at from public.runner
), present as (
    select hour, host, instance,
           sum(slots * extract(epoch from least(ended_at, hour + interval '1 hour') - greatest(started_at, hour))) as slot_sec
      from session,
           generate_series(date_trunc('hour', started_at, 'UTC'), ended_at - interval '1 microsecond', interval '1 hour') as hour
     group by hour, host, instance
)
select present.hour, present.host, present.instance as runner, present.slot_sec::double precision as slot_sec,
       coalesce(rollup_runner.attempts, 0)::bigint as attempts, coalesce(rollup_runner.seconds, 0) as busy_sec,
       coalesce(rollup_runner.seconds, 0) / nullif(present.slot_sec, 0)::double precision as utilisation
  from present
  left join public.rollup_runner using (hour, host, instance)
 where (select report.visible_projects()) is null;
comment on view report.runner_utilisation is 'How much of its slots each runner used, by hour (UTC), as far back as its sessions are kept. Only who sees every project sees it; see report.freshness.';

-- A blank after the comma is not part of an alias, which holds none.
create or replace function report.visible_projects() returns uuid[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case when wall is null then chosen when chosen is null then wall
                else array(select unnest(wall) intersect select unnest(chosen)) end
      from (select (select project_ids from public.reader where role_name = session_user) as wall,
                   case when setting <> '' then array(select id from public.project where alias = any (string_to_array(replace(setting, ' ', ''), ','))) end as chosen
              from (select coalesce(current_setting('orchestrator.project', true), '') as setting) as asked) as both_limits
$$;
