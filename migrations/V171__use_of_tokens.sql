-- A token that is remembered is looked up every half minute, which is when its use is noted.
comment on column token.last_used_at is 'Written at most once in half a minute, and not more than a minute late.';
