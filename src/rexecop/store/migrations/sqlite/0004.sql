-- Which operation put an output out, so that retention need not read all records to find it. It is not
-- known of those kept before; `rexecop gc` finds out.
ALTER TABLE blobs ADD COLUMN op INTEGER;
CREATE INDEX outputs ON blobs(op);
