-- hylas results store, schema version 1. Compiled into the program (db/CMakeLists.txt); run once in a new file.
--
-- For people with sqlite3, DuckDB or pandas: start at the views. Open the file read-only while a sweep runs.
--   results          every measured value, one a row: what two sweeps are compared by
--   trial_overview   one row a trial: layout, seed, state, how far it got, how long it took
--   design_overview  one row a design: sizes, costs, its trials by state
--   final_results    the last value of every metric of every trial
--   curves           results beside the study, layout, width and context they belong to, for plots
-- Conventions: design_id and trial_key are hashes (16 hex digits); tokens and steps count from the start of training; values
-- that are no finite numbers are NULL with value_class 'nan', '+inf' or '-inf'; times are UTC; *_json columns hold JSON.
-- A file is recognised by application_id 1752788083 ("hyls") and its schema version by user_version.

PRAGMA application_id = 1752788083;
PRAGMA user_version = 1;

-- One sweep: a space of designs and what was made of it.
CREATE TABLE studies (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  space_json TEXT NOT NULL,        -- canonical; a sweep with another one is refused unless --extend is given
  space_text TEXT NOT NULL,        -- the space file as written
  created_at TEXT NOT NULL
) STRICT;

-- A layout with a shape.
CREATE TABLE designs (
  id INTEGER PRIMARY KEY,
  design_id TEXT NOT NULL UNIQUE,  -- hash of `canonical`
  canonical TEXT NOT NULL UNIQUE,
  layout TEXT NOT NULL,            -- in canonical form
  shape_json TEXT NOT NULL,
  parameters_total INTEGER NOT NULL,
  parameters_non_embedding INTEGER NOT NULL,
  flops_forward REAL NOT NULL,     -- per token
  flops_train REAL NOT NULL,       -- per token
  cache_bytes INTEGER NOT NULL     -- bf16, one sequence of the full context
) STRICT;

-- What the numbers mean: task parameters, metric definitions, window convention.
CREATE TABLE protocols (
  id INTEGER PRIMARY KEY,
  json TEXT NOT NULL UNIQUE
) STRICT;

-- One design trained with one recipe.
CREATE TABLE trials (
  id INTEGER PRIMARY KEY,
  trial_key TEXT NOT NULL UNIQUE,  -- hash of design_id and recipe
  design INTEGER NOT NULL REFERENCES designs(id),
  protocol INTEGER NOT NULL REFERENCES protocols(id),
  recipe_json TEXT NOT NULL,
  cohort_key TEXT NOT NULL,        -- trials with equal keys can train in lockstep
  seed INTEGER NOT NULL,
  steps INTEGER NOT NULL,          -- planned
  tokens_per_step INTEGER NOT NULL,
  capability_metric TEXT NOT NULL, -- D50 is asked of this metric
  capability_threshold REAL NOT NULL,
  capability_stop_at REAL NOT NULL,
  state TEXT NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'running', 'done', 'stopped', 'diverged', 'failed')),
  step INTEGER NOT NULL DEFAULT 0, -- last evaluation, or where the trial ended
  message TEXT NOT NULL DEFAULT '',
  wall_seconds REAL NOT NULL DEFAULT 0,
  epoch INTEGER NOT NULL DEFAULT 0,           -- counts claims; a write under an older one is refused
  owner TEXT NOT NULL DEFAULT '',             -- host:pid
  owner_boot TEXT NOT NULL DEFAULT '',        -- the boot of the owner's machine
  owner_process TEXT NOT NULL DEFAULT '',     -- pid namespace, pid, start time
  lease_until REAL NOT NULL DEFAULT 0,        -- seconds of that boot's monotonic clock
  created_at TEXT NOT NULL,
  started_at TEXT NOT NULL DEFAULT '',
  finished_at TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX trials_by_state ON trials(state);
CREATE INDEX trials_by_design ON trials(design);

-- Which trials belong to which study, in the order they were asked for.
CREATE TABLE study_trials (
  study INTEGER NOT NULL REFERENCES studies(id),
  trial INTEGER NOT NULL REFERENCES trials(id),
  ordinal INTEGER NOT NULL,
  PRIMARY KEY (study, trial)
) STRICT, WITHOUT ROWID;

-- The processes that wrote: provenance.
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  program_version TEXT NOT NULL,
  machine TEXT NOT NULL,           -- JSON
  device TEXT NOT NULL,
  started_at TEXT NOT NULL
) STRICT;

-- One evaluation of one trial; its values are in points.
CREATE TABLE evaluations (
  trial INTEGER NOT NULL REFERENCES trials(id),
  step INTEGER NOT NULL CHECK (step >= 0),
  tokens INTEGER NOT NULL CHECK (tokens >= 0),
  protocol INTEGER NOT NULL REFERENCES protocols(id),
  run INTEGER REFERENCES runs(id),
  recorded_at TEXT NOT NULL,
  PRIMARY KEY (trial, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE points (
  trial INTEGER NOT NULL,
  step INTEGER NOT NULL,
  metric TEXT NOT NULL,
  value REAL,
  value_class TEXT NOT NULL CHECK (value_class IN ('finite', 'nan', '+inf', '-inf')),
  count INTEGER NOT NULL,          -- scored positions behind the value; 0: not a mean of positions
  PRIMARY KEY (trial, step, metric),
  FOREIGN KEY (trial, step) REFERENCES evaluations(trial, step),
  CHECK ((value_class = 'finite') = (value IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- Where training can go on. Paths are relative to the directory <this file>.checkpoints.
CREATE TABLE checkpoints (
  trial INTEGER NOT NULL REFERENCES trials(id),
  step INTEGER NOT NULL CHECK (step >= 0),
  evaluated INTEGER NOT NULL CHECK (evaluated IN (0, 1)),  -- saved after the evaluation due at this step, or before
  path TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  run INTEGER REFERENCES runs(id),
  recorded_at TEXT NOT NULL,
  PRIMARY KEY (trial, step)
) STRICT, WITHOUT ROWID;

-- What `hylas fit` found, as JSON; older fits are kept.
CREATE TABLE fits (
  id INTEGER PRIMARY KEY,
  study INTEGER NOT NULL REFERENCES studies(id),
  kind TEXT NOT NULL,
  json TEXT NOT NULL,
  program_version TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX fits_by_study ON fits(study, kind);

CREATE VIEW results AS
  SELECT d.design_id, t.trial_key, t.seed, p.step, e.tokens, p.metric, p.value, p.value_class
  FROM points p
  JOIN evaluations e ON e.trial = p.trial AND e.step = p.step
  JOIN trials t ON t.id = p.trial
  JOIN designs d ON d.id = t.design;

CREATE VIEW trial_overview AS
  SELECT s.name AS study, t.trial_key, d.design_id, d.layout, t.seed, t.state, t.step, t.steps,
         t.step * t.tokens_per_step AS tokens,
         (SELECT count(*) FROM evaluations e WHERE e.trial = t.id) AS evaluations,
         (SELECT p.value FROM points p WHERE p.trial = t.id AND p.metric = t.capability_metric
          ORDER BY p.step DESC LIMIT 1) AS capability_value,
         t.capability_metric, t.capability_threshold,
         t.wall_seconds, t.started_at, t.finished_at, t.message
  FROM study_trials m
  JOIN studies s ON s.id = m.study
  JOIN trials t ON t.id = m.trial
  JOIN designs d ON d.id = t.design
  ORDER BY m.study, m.ordinal;

CREATE VIEW design_overview AS
  SELECT s.name AS study, d.design_id, d.layout, d.shape_json, d.parameters_total, d.parameters_non_embedding,
         d.flops_train, d.cache_bytes, count(*) AS trials,
         sum(t.state IN ('queued', 'running')) AS open, sum(t.state = 'done') AS done, sum(t.state = 'stopped') AS stopped,
         sum(t.state = 'diverged') AS diverged, sum(t.state = 'failed') AS failed
  FROM study_trials m
  JOIN studies s ON s.id = m.study
  JOIN trials t ON t.id = m.trial
  JOIN designs d ON d.id = t.design
  GROUP BY s.id, d.id;

CREATE VIEW final_results AS
  SELECT d.design_id, d.layout, t.trial_key, t.seed, t.state, p.metric, p.step, p.step * t.tokens_per_step AS tokens,
         p.value, p.value_class, p.count
  FROM trials t
  JOIN designs d ON d.id = t.design
  JOIN points p ON p.trial = t.id
  WHERE p.step = (SELECT max(e.step) FROM evaluations e WHERE e.trial = t.id);

CREATE VIEW curves AS
  SELECT s.name AS study, d.layout, json_extract(d.shape_json, '$.d_model') AS d_model,
         json_extract(d.shape_json, '$.context') AS context, t.seed, t.trial_key, t.state,
         p.step, e.tokens, p.metric, p.value, p.value_class, p.count
  FROM study_trials m
  JOIN studies s ON s.id = m.study
  JOIN trials t ON t.id = m.trial
  JOIN designs d ON d.id = t.design
  JOIN points p ON p.trial = t.id
  JOIN evaluations e ON e.trial = p.trial AND e.step = p.step;
