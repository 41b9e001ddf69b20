-- A project's policy holds for every job that comes in, whichever way it came.

-- A job's specification within its project's policy: the lower of two limits, approval when either asks for it, and
-- sandbox and network as the project says, where it says. A runner sees the result and narrows it by its host's.
create function narrowed(spec jsonb, project jsonb) returns jsonb
    language sql immutable parallel safe
    return case when project = '{}' then spec else jsonb_set(spec, '{policy}',
        coalesce(spec -> 'policy', '{}')
        || (project - 'limits' - 'requires_approval')
        || case when project -> 'requires_approval' = 'true' then '{"requires_approval": true}'::jsonb else '{}' end
        || coalesce((select jsonb_build_object('limits', jsonb_object_agg(name, most))
                       from (select name, min(said::bigint) as most
                               from (select * from jsonb_each_text(coalesce(spec #> '{policy,limits}', '{}'))
                                     union all
                                     select * from jsonb_each_text(coalesce(project -> 'limits', '{}'))) as said (name, said)
                              group by name) as lower
                      having count(*) > 0), '{}')) end;
comment on function narrowed is 'What a job may do: as it asks, and no more than its project lets it.';
