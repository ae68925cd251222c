-- The outbox, version 3. Meta and sealed bodies in separate tables: a change of state must not move a blob.
-- Few indexes, and partial ones: each page that a change of state touches is written twice.
-- Times are milliseconds since 1970, UTC.

CREATE TABLE record (
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,  -- 32 hex digits; base of every request id
    state           TEXT    NOT NULL CHECK (state IN
        ('ready', 'sending', 'held', 'parked', 'delivered', 'quarantined', 'discarded')),
    person          TEXT    NOT NULL,         -- keyed pseudonym
    verified_at     INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    lane            INTEGER NOT NULL DEFAULT 0,  -- 0 never attempted, 1 attempted before
    next_attempt_at INTEGER NOT NULL DEFAULT 0,  -- 0: at once, whatever the clock says
    attempts        INTEGER NOT NULL DEFAULT 0,
    epoch           INTEGER,                  -- the process that is sending it
    token           TEXT,                     -- the claim within that process
    unknown         INTEGER NOT NULL DEFAULT 0,  -- the last answer is not known
    last_code       TEXT,
    last_detail     TEXT,
    holds           TEXT    NOT NULL DEFAULT '{}',  -- JSON: hold -> what is missing
    size            INTEGER NOT NULL,
    content         TEXT    NOT NULL,         -- digest of what was put: tells the same again from something else
    wrapped_key     BLOB,                     -- NULL once the record is erased
    finished_at     INTEGER,
    supersedes      TEXT,                     -- the refused record that this one corrects
    superseded_by   TEXT,                     -- the record that corrects this one
    set_aside_from  TEXT,                     -- the state before `quarantined`
    exported_at     INTEGER,                  -- since when a sealed export holds it
    closed_by       TEXT,                     -- the person who discarded it
    closed_why      TEXT
) STRICT;
CREATE INDEX record_due ON record (lane, next_attempt_at, seq) WHERE state = 'ready';
CREATE INDEX record_aside ON record (state, seq) WHERE state IN ('held', 'parked', 'quarantined');
CREATE INDEX record_person ON record (person, verified_at);
CREATE INDEX record_erasable ON record (finished_at) WHERE finished_at IS NOT NULL AND wrapped_key IS NOT NULL;
CREATE INDEX record_finished ON record (finished_at) WHERE finished_at IS NOT NULL AND wrapped_key IS NULL;

CREATE TABLE body (
    seq    INTEGER PRIMARY KEY,
    record INTEGER NOT NULL REFERENCES record (seq),
    kind   TEXT    NOT NULL,                  -- facts | picture:KIND | supplement:N
    sealed BLOB    NOT NULL,
    origin TEXT,                              -- beside facts: JSON of the meta row's first state, for salvage
    UNIQUE (record, kind)
) STRICT;

CREATE TABLE conventions (
    fingerprint TEXT PRIMARY KEY,
    json        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a send, committed before the first byte leaves: the proof of what was sent, and when.
CREATE TABLE attempt (
    record      INTEGER NOT NULL REFERENCES record (seq),
    number      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    request_id  TEXT,
    conventions TEXT REFERENCES conventions (fingerprint),
    sm3         TEXT,                         -- of the body as sent
    length      INTEGER,
    ended_at    INTEGER,
    outcome     TEXT,                         -- delivered | later | unknown | held | parked | interrupted
    code        TEXT,
    PRIMARY KEY (record, number)
) STRICT, WITHOUT ROWID;

-- Outlives the pictures: the proof of delivery.
CREATE TABLE receipt (
    record         INTEGER PRIMARY KEY REFERENCES record (seq),
    request_id     TEXT    NOT NULL,
    person         TEXT    NOT NULL,
    sm3            TEXT    NOT NULL,
    return_time    INTEGER,
    code           INTEGER NOT NULL,
    exception_code TEXT,
    message        TEXT    NOT NULL,
    signed         INTEGER NOT NULL,
    at             INTEGER NOT NULL
) STRICT;

-- An attempt at the desk that has not become a record (yet).
CREATE TABLE opened (
    id     TEXT    PRIMARY KEY,
    epoch  INTEGER NOT NULL,
    sealed BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Failed or impossible verifications, until a named person closes them: with the record, or without one.
CREATE TABLE followup (
    seq         INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,      -- the record's, or the attempt's that became none
    opened_at   INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    wrapped_key BLOB,                         -- both NULL once it is closed
    sealed      BLOB,
    closed_at   INTEGER,
    closed_by   TEXT,
    closed_how  TEXT
) STRICT;

-- The balance, moved in the same transactions as the records themselves.
CREATE TABLE ledger (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    accepted    INTEGER NOT NULL DEFAULT 0,
    ready       INTEGER NOT NULL DEFAULT 0,
    sending     INTEGER NOT NULL DEFAULT 0,
    held        INTEGER NOT NULL DEFAULT 0,
    parked      INTEGER NOT NULL DEFAULT 0,
    delivered   INTEGER NOT NULL DEFAULT 0,
    quarantined INTEGER NOT NULL DEFAULT 0,
    discarded   INTEGER NOT NULL DEFAULT 0,
    bytes       INTEGER NOT NULL DEFAULT 0,
    -- Of those above: their receipt's time is over as well, and no row is left of them.
    expired_delivered INTEGER NOT NULL DEFAULT 0,
    expired_discarded INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO ledger (only) VALUES (1);

CREATE TABLE epoch (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at INTEGER NOT NULL
) STRICT;

CREATE TABLE epoch_key (
    id         INTEGER PRIMARY KEY,
    kek_id     TEXT    NOT NULL,
    wrapped    BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
