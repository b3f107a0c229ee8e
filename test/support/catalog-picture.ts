import type pg from 'pg';

/**
 * Everything that a schema dump would show of a database, by names: the embedded Postgres has no pg_dump. Objects are compared
 * as text, so the order of storage settings counts, as it does in a dump.
 */
export async function takeCatalogPicture(client: pg.Client): Promise<readonly string[]> {
  const { rows } = await client.query<{ line: string }>(`
    WITH spaces AS (SELECT oid, nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'),
      classes AS (SELECT c.*, s.nspname FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace)
    SELECT format('schema %s owner %s acl %s', nspname, n.nspowner::regrole, n.nspacl) AS line FROM spaces JOIN pg_namespace n USING (oid, nspname)
    UNION ALL SELECT format('relation %s.%s kind %s options %s acl %s identity %s rls %s owner %s persistence %s', nspname, relname, relkind,
      reloptions, relacl, relreplident, relrowsecurity, relowner::regrole, relpersistence) FROM classes
    UNION ALL SELECT format('toast of %s.%s options %s', c.nspname, c.relname, t.reloptions) FROM classes c JOIN pg_class t ON t.oid = c.reltoastrelid
    UNION ALL SELECT format('column %s.%s.%s %s %s null %s default %s identity %s generated %s storage %s target %s options %s acl %s',
      c.nspname, c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
      a.attidentity, a.attgenerated, a.attstorage, a.attstattarget, a.attoptions, a.attacl)
      FROM classes c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    UNION ALL SELECT format('index %s valid %s clustered %s identity %s', pg_get_indexdef(x.indexrelid), x.indisvalid, x.indisclustered, x.indisreplident)
      FROM pg_index x JOIN classes c ON c.oid = x.indrelid
    UNION ALL SELECT format('trigger %s enabled %s', pg_get_triggerdef(g.oid), g.tgenabled) FROM pg_trigger g JOIN classes c ON c.oid = g.tgrelid
      WHERE NOT g.tgisinternal
    UNION ALL SELECT format('constraint %s.%s %s %s', c.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid))
      FROM pg_constraint k JOIN classes c ON c.oid = k.conrelid
    UNION ALL SELECT format('function %s acl %s owner %s', pg_get_functiondef(p.oid), p.proacl, p.proowner::regrole)
      FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace WHERE p.prokind IN ('f', 'p')
    UNION ALL SELECT format('type %s.%s', s.nspname, t.typname) FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace
    UNION ALL SELECT format('rule %s', pg_get_ruledef(r.oid)) FROM pg_rewrite r JOIN classes c ON c.oid = r.ev_class
    UNION ALL SELECT format('policy %s on %s', p.polname, c.relname) FROM pg_policy p JOIN classes c ON c.oid = p.polrelid
    UNION ALL SELECT format('comment %s', d.description) FROM pg_description d
      WHERE d.objoid IN (SELECT oid FROM classes UNION SELECT oid FROM spaces UNION SELECT g.oid FROM pg_trigger g JOIN classes c ON c.oid = g.tgrelid
        UNION SELECT k.oid FROM pg_constraint k JOIN classes c ON c.oid = k.conrelid)
    UNION ALL SELECT format('publication %s %s.%s', p.pubname, t.schemaname, t.tablename) FROM pg_publication p JOIN pg_publication_tables t USING (pubname)
    UNION ALL SELECT format('event trigger %s', evtname) FROM pg_event_trigger
    UNION ALL SELECT format('default acl %s', defaclacl) FROM pg_default_acl
    ORDER BY 1`);
  return rows.map(({ line }) => line);
}
