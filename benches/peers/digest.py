"""The sequence level of a digest with Polars or DuckDB: what `recgpt bench digest` measures itself against.

Reads the event store, keeps reliable behaviour of items that did not go back, gives every act the search of
its session that it answers, buckets by time, aggregates per text, inverts to texts per list of contexts, and
writes `user <tab> line`. `recgpt` checks that the lines are its own. Prints one JSON line.

    pip install polars duckdb
"""

import argparse
import json
import os
import resource
import time

DAY = 86_400_000
# behaviours in the order in which a line writes them; the numbers sort
WORDS = {"detail_view": (2, "view"), "review_read": (3, "review"), "favorite": (4, "favorite"),
         "cart": (5, "cart"), "purchase": (6, "buy"), "search": (8, "search")}


def with_duckdb(args):
    import duckdb

    con = duckdb.connect()
    con.execute(f"SET threads = {args.threads}")
    con.execute("SET preserve_insertion_order = false")
    words = ", ".join(f"('{kind}', {rank}, '{word}')" for kind, (rank, word) in WORDS.items())
    today = args.now // DAY
    con.execute(f"""
    COPY (
      WITH words(kind, rank, word) AS (VALUES {words}),
      cores AS (SELECT item_id, core FROM read_json('{args.cores}', columns = {{item_id: 'VARCHAR', core: 'VARCHAR'}})),
      log AS (
        SELECT user_id, event_type AS kind, item_id, query, session_id, event_id,
               epoch_ms("timestamp") AS t
        FROM read_parquet('{args.store}/*/*.parquet', hive_partitioning = false)
        WHERE event_type IN ('detail_view', 'review_read', 'favorite', 'cart', 'purchase', 'search', 'return')
      ),
      gone AS (
        SELECT user_id, item_id FROM log WHERE kind IN ('purchase', 'return')
        GROUP BY ALL HAVING arg_max(kind, t) = 'return'
      ),
      acts AS (
        SELECT *, last_value(CASE WHEN kind = 'search' THEN {{'q': query, 't': t, 'id': event_id}} END IGNORE NULLS)
                  OVER (PARTITION BY user_id, session_id ORDER BY t ROWS UNBOUNDED PRECEDING) AS search
        FROM log WHERE kind <> 'return'
      ),
      led AS (SELECT DISTINCT user_id, search.id AS id FROM acts WHERE kind <> 'search' AND search IS NOT NULL),
      bought AS (
        SELECT a.user_id, c.core AS text, a.kind, a.t, a.search
        FROM acts a JOIN cores c USING (item_id) ANTI JOIN gone g ON g.user_id = a.user_id AND g.item_id = a.item_id
        WHERE a.kind <> 'search'
      ),
      marks AS (
        SELECT user_id, text, kind, NULL AS q, t FROM bought
        UNION ALL SELECT user_id, text, 'search', search.q, search.t FROM bought WHERE search IS NOT NULL
        UNION ALL SELECT a.user_id, a.query, 'search', NULL, a.t FROM acts a
          ANTI JOIN led l ON l.user_id = a.user_id AND l.id = a.event_id WHERE a.kind = 'search'
      ),
      days AS (SELECT user_id, text, kind, q, t, {today} - t // {DAY} AS ago FROM marks),
      atoms AS (
        SELECT user_id, text, kind, q, max(t) AS newest,
               CASE WHEN ago < 30 THEN ago WHEN ago < 365 THEN 256 + ago // 30 ELSE 512 + ago // 365 END AS bucket
        FROM days GROUP BY ALL
      ),
      contexts AS (
        SELECT user_id, text, bucket, max(newest) AS newest,
               string_agg(CASE WHEN q IS NULL THEN word ELSE word || ':' || q END, ',' ORDER BY rank, q NULLS FIRST) AS acts
        FROM atoms JOIN words USING (kind) GROUP BY ALL
      ),
      entities AS (
        SELECT user_id, text, max(newest) AS newest,
               string_agg(CASE WHEN bucket < 256 THEN bucket || 'd' WHEN bucket < 512 THEN (bucket - 256) || 'mo'
                               ELSE (bucket - 512) || 'y' END || '(' || acts || ')', ',' ORDER BY bucket) AS head
        FROM contexts GROUP BY ALL
      )
      SELECT user_id, head || '|' || string_agg(text, ';' ORDER BY newest DESC, text) AS line
      FROM entities GROUP BY user_id, head
    ) TO '{args.out}' (FORMAT csv, DELIMITER '\t', HEADER false, QUOTE '', ESCAPE '')
    """)


def with_polars(args):
    import polars as pl

    c = pl.col
    today = args.now // DAY
    cores = pl.scan_ndjson(args.cores)
    log = (
        pl.scan_parquet(f"{args.store}/*/*.parquet", hive_partitioning=False)
        .filter(c("event_type").is_in([*WORDS, "return"]))
        .select("user_id", "item_id", "query", "session_id", "event_id",
                kind=c("event_type"), t=c("timestamp").dt.epoch("ms"))
        .sort("user_id", "t")
    )
    gone = (
        log.filter(c("kind").is_in(["purchase", "return"])).group_by("user_id", "item_id")
        .agg(c("kind").sort_by("t").last()).filter(c("kind") == "return").select("user_id", "item_id")
    )
    is_search = c("kind") == "search"
    seen = pl.when(is_search)
    acts = log.filter(c("kind") != "return").with_columns(
        sq=seen.then("query").forward_fill().over("user_id", "session_id"),
        st=seen.then("t").forward_fill().over("user_id", "session_id"),
        sid=seen.then("event_id").forward_fill().over("user_id", "session_id"),
    )
    led = acts.filter(~is_search & c("sid").is_not_null()).select("user_id", event_id="sid").unique()
    bought = (
        acts.filter(~is_search).join(cores, on="item_id").join(gone, on=["user_id", "item_id"], how="anti")
        .rename({"core": "text"})
    )
    none = pl.lit(None, dtype=pl.String)
    marks = pl.concat([
        bought.select("user_id", "text", "kind", none.alias("q"), "t"),
        bought.filter(c("sid").is_not_null()).select("user_id", "text", pl.lit("search").alias("kind"), q="sq", t="st"),
        acts.filter(is_search).join(led, on=["user_id", "event_id"], how="anti")
        .select("user_id", pl.col("query").alias("text"), "kind", none.alias("q"), "t"),
    ])
    ago = today - c("t") // DAY
    bucket = pl.when(ago < 30).then(ago).when(ago < 365).then(256 + ago // 30).otherwise(512 + ago // 365)
    rank = c("kind").replace_strict({k: r for k, (r, _) in WORDS.items()}, return_dtype=pl.Int32)
    word = c("kind").replace_strict({k: w for k, (_, w) in WORDS.items()}, return_dtype=pl.String)
    name = (
        pl.when(c("bucket") < 256).then(pl.format("{}d", "bucket"))
        .when(c("bucket") < 512).then(pl.format("{}mo", c("bucket") - 256))
        .otherwise(pl.format("{}y", c("bucket") - 512))
    )
    lines = (
        marks.with_columns(bucket=bucket)
        .group_by("user_id", "text", "bucket", "kind", "q").agg(newest=c("t").max())
        .with_columns(rank=rank, act=pl.when(c("q").is_null()).then(word).otherwise(pl.format("{}:{}", word, "q")))
        .group_by("user_id", "text", "bucket")
        .agg(c("newest").max(), acts=c("act").sort_by("rank", "q", nulls_last=False).str.join(","))
        .with_columns(context=pl.format("{}({})", name, "acts"))
        .group_by("user_id", "text")
        .agg(c("newest").max(), head=c("context").sort_by("bucket").str.join(","))
        .group_by("user_id", "head")
        .agg(items=c("text").sort_by("newest", "text", descending=[True, False]).str.join(";"))
        .select("user_id", line=pl.format("{}|{}", "head", "items"))
    )
    lines.collect(engine="streaming").write_csv(
        args.out, separator="\t", include_header=False, quote_style="never")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=["polars", "duckdb"], required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--store", required=True)
    parser.add_argument("--cores", required=True)
    parser.add_argument("--now", type=int, required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    os.environ["POLARS_MAX_THREADS"] = str(args.threads)
    __import__(args.engine)  # starting the engine is not part of the job
    start = time.perf_counter()
    {"polars": with_polars, "duckdb": with_duckdb}[args.engine](args)
    print(json.dumps({
        "name": args.engine, "threads": args.threads, "seconds": time.perf_counter() - start,
        "events": 0, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()
