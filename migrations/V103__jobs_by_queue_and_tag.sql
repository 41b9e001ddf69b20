-- Pages of jobs of a queue or with a tag, in the order of ids. On what is written once with the job: an index on
-- job itself would be written again with every claim and every settle.

create index job_spec_of_queue on job_spec ((spec ->> 'queue'), job_id desc);

create table job_tag (
    tag     text not null,
    job_id  uuid not null,
    primary key (tag, job_id)
);
comment on table job_tag is 'The tags of each job, from its specification, to find jobs by.';

create function keep_job_tags() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into job_tag select tag, new.job_id from jsonb_array_elements_text(new.spec -> 'tags') as said (tag) on conflict do nothing;
    else
        delete from job_tag
         where job_id = old.job_id and tag in (select jsonb_array_elements_text(old.spec -> 'tags'));
    end if;
    return null;
end $$;

-- Rows, not statements: a job without tags, as most are, costs the comparison and nothing else.
create trigger job_tags_are_kept after insert on job_spec for each row
    when (jsonb_array_length(new.spec -> 'tags') > 0) execute function keep_job_tags();
create trigger job_tags_go_with_it after delete on job_spec for each row
    when (jsonb_array_length(old.spec -> 'tags') > 0) execute function keep_job_tags();

insert into job_tag
select distinct tag, job_id from job_spec, jsonb_array_elements_text(spec -> 'tags') as said (tag);
