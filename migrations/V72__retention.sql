-- Where retention may stop looking: ids are UUIDv7, so they begin with the time they were made at.

create function uuid_at(at timestamptz) returns uuid
language sql immutable parallel safe as $$
    select (lpad(to_hex(greatest((extract(epoch from at) * 1000)::bigint, 0)), 12, '0') || '70008000000000000000')::uuid
$$;
comment on function uuid_at is 'The smallest id that could be made at this time.';
