-- Parameters that were set on a running system. `value` is JSON. A durable one outlives an apply.
CREATE TABLE overrides (
    system TEXT NOT NULL REFERENCES systems (name) ON DELETE CASCADE,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    durable INTEGER NOT NULL,
    set_ms INTEGER NOT NULL,
    PRIMARY KEY (system, node, name)
) STRICT;
