-- Which processes were heard of lately, and since when without a gap. Of use to nobody after a crash.
CREATE UNLOGGED TABLE presence(
  runner text COLLATE "C" PRIMARY KEY, since timestamptz NOT NULL, seen timestamptz NOT NULL
);
