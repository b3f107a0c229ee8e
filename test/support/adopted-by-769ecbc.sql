-- What an adoption of public.work_items with 16 slots by commit 769ecbc ran, statement by statement. Never changed: tests upgrade it.
BEGIN; SET LOCAL lock_timeout = '3s';
CREATE SCHEMA scaler;
CREATE TABLE scaler.migration (number int PRIMARY KEY, name text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE scaler.slot (slot int PRIMARY KEY, epoch bigint NOT NULL DEFAULT 0, version bigint NOT NULL DEFAULT 0,
      worker text, last_tick bigint NOT NULL DEFAULT 0) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 100, vacuum_truncate = false);
INSERT INTO scaler.slot (slot) SELECT generate_series(0, 15);
CREATE TABLE scaler.table_change (slot int NOT NULL, delta int NOT NULL,
      xid xid8 NOT NULL DEFAULT pg_current_xact_id()) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false);
CREATE SEQUENCE scaler.epoch;
CREATE TABLE scaler.adoption (is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only), table_schema text NOT NULL,
      table_name text NOT NULL, id_column text NOT NULL, value_column text NOT NULL, worker_column text NOT NULL,
      slots int NOT NULL, epoch bigint NOT NULL DEFAULT 0, completed_at timestamptz);
INSERT INTO scaler.adoption (table_schema, table_name, id_column, value_column, worker_column, slots)
      VALUES ('public', 'work_items', 'id', 'value', 'currentworker', 16);
CREATE FUNCTION scaler.draw_epoch(above bigint) RETURNS bigint LANGUAGE plpgsql AS $$
      DECLARE floor_epoch bigint; drawn bigint;
      BEGIN
        SELECT greatest(above, epoch) INTO STRICT floor_epoch FROM scaler.adoption FOR UPDATE;
        drawn := nextval('scaler.epoch');
        IF drawn <= floor_epoch THEN
          PERFORM setval('scaler.epoch', floor_epoch);
          drawn := nextval('scaler.epoch');
        END IF;
        UPDATE scaler.adoption SET epoch = drawn;
        RETURN drawn;
      END $$;
INSERT INTO scaler.migration (number, name) VALUES (1, 'bookkeeping') ON CONFLICT (number) DO UPDATE SET applied_at = DEFAULT;
COMMIT;
BEGIN; SET LOCAL lock_timeout = '3s';
CREATE TABLE IF NOT EXISTS "public"."work_items" ("id" uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      "value" integer NOT NULL DEFAULT 0, "currentworker" text) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 100, vacuum_truncate = false);
INSERT INTO scaler.migration (number, name) VALUES (2, 'work table') ON CONFLICT (number) DO UPDATE SET applied_at = DEFAULT;
COMMIT;
BEGIN; SET LOCAL lock_timeout = '3s'; DROP INDEX  IF EXISTS "public"."work_items_scaler_slot"; CREATE INDEX  "work_items_scaler_slot" ON "public"."work_items" ((pg_catalog.uuid_hash_extended("id", 0::bigint) & 15::bigint)); COMMIT;
ANALYZE "public"."work_items";
INSERT INTO scaler.migration (number, name) VALUES (3, 'slot index') ON CONFLICT (number) DO UPDATE SET applied_at = DEFAULT;
BEGIN; SET LOCAL lock_timeout = '3s';
ALTER TABLE "public"."work_items" SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 100, vacuum_truncate = false);
INSERT INTO scaler.migration (number, name) VALUES (4, 'storage settings') ON CONFLICT (number) DO UPDATE SET applied_at = DEFAULT;
COMMIT;
BEGIN; SET LOCAL lock_timeout = '3s';
CREATE OR REPLACE FUNCTION scaler.record_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, pg_temp AS 'BEGIN
    INSERT INTO scaler.table_change (slot, delta) SELECT (pg_catalog.uuid_hash_extended("id", 0::bigint) & 15::bigint)::int, count(*)::int FROM added GROUP BY 1;
    IF FOUND THEN PERFORM pg_notify(''scaler_table'', ''''); END IF;
    RETURN NULL;
END';
REVOKE EXECUTE ON FUNCTION scaler.record_insert() FROM PUBLIC;
CREATE OR REPLACE FUNCTION scaler.record_delete() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, pg_temp AS 'BEGIN
    INSERT INTO scaler.table_change (slot, delta) SELECT (pg_catalog.uuid_hash_extended("id", 0::bigint) & 15::bigint)::int, -count(*)::int FROM removed GROUP BY 1;
    IF FOUND THEN PERFORM pg_notify(''scaler_table'', ''''); END IF;
    RETURN NULL;
END';
REVOKE EXECUTE ON FUNCTION scaler.record_delete() FROM PUBLIC;
CREATE OR REPLACE FUNCTION scaler.record_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, pg_temp AS 'BEGIN
    INSERT INTO scaler.table_change (slot, delta) VALUES ((pg_catalog.uuid_hash_extended(OLD."id", 0::bigint) & 15::bigint)::int, -1), ((pg_catalog.uuid_hash_extended(NEW."id", 0::bigint) & 15::bigint)::int, 1);
    PERFORM pg_notify(''scaler_table'', '''');
    RETURN NULL;
END';
REVOKE EXECUTE ON FUNCTION scaler.record_move() FROM PUBLIC;
CREATE OR REPLACE FUNCTION scaler.record_truncate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, pg_temp AS 'BEGIN
    INSERT INTO scaler.table_change (slot, delta) VALUES (-1, 0);
    PERFORM pg_notify(''scaler_table'', '''');
    RETURN NULL;
END';
REVOKE EXECUTE ON FUNCTION scaler.record_truncate() FROM PUBLIC;
DROP TRIGGER IF EXISTS scaler_insert ON "public"."work_items";
CREATE TRIGGER scaler_insert AFTER INSERT ON "public"."work_items" REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION scaler.record_insert();
DROP TRIGGER IF EXISTS scaler_delete ON "public"."work_items";
CREATE TRIGGER scaler_delete AFTER DELETE ON "public"."work_items" REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION scaler.record_delete();
DROP TRIGGER IF EXISTS scaler_truncate ON "public"."work_items";
CREATE TRIGGER scaler_truncate AFTER TRUNCATE ON "public"."work_items" FOR EACH STATEMENT EXECUTE FUNCTION scaler.record_truncate();
DROP TRIGGER IF EXISTS scaler_move ON "public"."work_items";
CREATE TRIGGER scaler_move AFTER UPDATE OF "id" ON "public"."work_items"
      FOR EACH ROW WHEN (OLD."id" IS DISTINCT FROM NEW."id") EXECUTE FUNCTION scaler.record_move();
INSERT INTO scaler.migration (number, name) VALUES (5, 'change triggers') ON CONFLICT (number) DO UPDATE SET applied_at = DEFAULT;
COMMIT;
UPDATE scaler.adoption SET completed_at = clock_timestamp();
