-- What operators say about projects, and which token took another's place.

alter table project
    add column description text not null default '',
    add column policy jsonb not null default '{}';
alter table project
    add constraint description_is_short check (char_length(description) <= 2000) not valid,
    add constraint policy_is_an_object check (jsonb_typeof(policy) = 'object') not valid;
comment on column project.policy is 'What its jobs may do, within what their host allows; a job may only ask for less.';
comment on column project.updated_at is 'Moves with every change: the version that the API shows as ETag.';

alter table token
    add column rotated_from uuid references token on delete set null,
    add column revoked_by text;
create index token_by_predecessor on token (rotated_from) where rotated_from is not null;
comment on column token.rotated_from is 'The token whose place it took; that one expires when the overlap is over.';
comment on column token.revoked_by is 'Who took it back: an actor, or environment when WEBHOOK_TOKENS no longer names it.';
