-- Models by name; their files are in the data folder, named by digest. `description` is JSON as in a
-- file beside a model, or empty; `inputs` and `outputs` are JSON.
CREATE TABLE models (
    name TEXT PRIMARY KEY NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    extension TEXT NOT NULL,
    description TEXT NOT NULL,
    inputs TEXT NOT NULL,
    outputs TEXT NOT NULL,
    added_ms INTEGER NOT NULL
) STRICT;
CREATE TRIGGER models_are_immutable BEFORE UPDATE ON models
BEGIN
    SELECT RAISE(ABORT, 'a model keeps its file');
END;
