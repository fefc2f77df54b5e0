-- Pictures of events: JPEG. The newest are kept.
CREATE TABLE event_pictures (
    event INTEGER PRIMARY KEY NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    jpeg BLOB NOT NULL
) STRICT;
