"""What schemathesis cannot know of idempotency keys.

A client draws a key for each thing it wants done. schemathesis draws few, and uses them again for other requests, which
are refused (422), or for the same one, after what it made has been deleted: the stored answer then names something that
is gone, which `ensure_resource_availability` takes for a fault. So where requests follow on one another, each good key
is made a new one; keys that are bad, and those of single requests, go out as they are drawn.
"""

import uuid

import schemathesis

KEY = "Idempotency-Key"


@schemathesis.hook
def before_call(context, case, kwargs):
    key = (case.headers or {}).get(KEY)
    follows = case.meta is not None and case.meta.phase.name.value == "stateful"
    if follows and isinstance(key, str) and key.isascii() and 1 <= len(key) <= 255:
        case.headers[KEY] = str(uuid.uuid4())
