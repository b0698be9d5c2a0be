-- One row by its key, for pgbench -f.
\set aid random(1, 100000)
SELECT abalance FROM keyed_accounts WHERE aid = :aid;
