-- The control plane's whole durable state. Migrations are append-only.

CREATE TABLE systems (
    name TEXT PRIMARY KEY NOT NULL,
    revision INTEGER NOT NULL,
    etag TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE revisions (
    system TEXT NOT NULL REFERENCES systems (name) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    manifest TEXT NOT NULL,
    cause TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (system, number)
) STRICT;

CREATE TRIGGER revisions_are_immutable BEFORE UPDATE ON revisions
BEGIN
    SELECT RAISE(ABORT, 'revisions are immutable');
END;

-- `facts` is an encoded edgeflow.v1.DeviceFacts. `last_seen_ms` is coarse: written when a session
-- opens and closes, never per heartbeat.
CREATE TABLE devices (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    labels TEXT NOT NULL,
    facts BLOB NOT NULL,
    enrolled_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL
) STRICT;

-- Every client certificate that is not known here, or is revoked, is refused.
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY NOT NULL,
    device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    issued_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER
) STRICT;
CREATE INDEX certificates_by_device ON certificates (device_id);

-- `event_sequence` is the newest of the device's own event numbers that is stored.
CREATE TABLE sessions (
    device_id TEXT PRIMARY KEY NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    connection_epoch INTEGER NOT NULL,
    event_sequence INTEGER NOT NULL
) STRICT;

CREATE TABLE assignments (
    device_id TEXT PRIMARY KEY NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    hash TEXT NOT NULL,
    body BLOB NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;

CREATE TRIGGER generations_only_rise BEFORE UPDATE ON assignments
WHEN NEW.generation < OLD.generation OR (NEW.generation = OLD.generation AND NEW.hash <> OLD.hash)
BEGIN
    SELECT RAISE(ABORT, 'an assignment needs a higher generation');
END;

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at_ms INTEGER NOT NULL,
    severity TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    system TEXT NOT NULL,
    node TEXT NOT NULL,
    instance TEXT NOT NULL,
    device_id TEXT NOT NULL,
    device_name TEXT NOT NULL,
    details TEXT NOT NULL
) STRICT;

-- Join tokens and logins: only hashes of the secrets.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY NOT NULL,
    secret_hash TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    max_uses INTEGER NOT NULL,
    labels TEXT NOT NULL
) STRICT;

CREATE TABLE logins (
    secret_hash TEXT PRIMARY KEY NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
