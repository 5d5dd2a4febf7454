//! Drives `recgpt sql` of the real binary. Built with `--features sql` it answers; without, it says how to
//! build it.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::path::Path;
use std::process::{Command, Output};

fn recgpt(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_recgpt")).args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(not(feature = "sql"))]
#[test]
fn without_its_feature_it_says_how_to_build_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = recgpt(folder.path(), &["sql", "select 1"]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("cargo build --release --features sql"), "{error}");
}

#[cfg(feature = "sql")]
mod built {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Stdio;

    use events::tables::{UserInterests, write_interests};
    use types::{Interest, InterestProfile, InterestSource, InterestStage, Timestamp};

    use super::{Command, recgpt, text};

    const ITEMS: &str = "{\"item_id\":\"i1\",\"title\":\"Waterproof hiking boots\",\"category\":\"Sports > Boots\",\"price\":90}\n{\"item_id\":\"i2\",\"title\":\"Wool \\\"socks\\\", grün\\u202e\",\"category\":\"Sports > Socks\",\"price\":9.5}\n";

    /// A shop with 12 events of 4 users in 4 buckets, below a folder whose name reads like a pattern;
    /// digests and interests are made, tags are not.
    struct Shop {
        dir: tempfile::TempDir,
    }

    impl Shop {
        fn new() -> Self {
            let dir = tempfile::Builder::new().prefix("a [b]* 50%41-").tempdir().unwrap();
            let shop = Self { dir };
            let mut rows = "event_id,event_type,user_id,item_id,timestamp,query\n".to_owned();
            for n in 0..12 {
                let (item, kind) = if n % 3 == 0 { ("i2", "cart") } else { ("i1", "click") };
                let query = if n == 5 { "rain, boots" } else { "" };
                rows += &format!(
                    "e{n},{kind},u{},{item},2025-01-{:02}T08:00:00Z,\"{query}\"\n",
                    n % 4,
                    n + 1
                );
            }
            rows += "e12,frobnicate,u1,i1,2025-01-01T00:00:00Z,\n";
            fs::write(shop.path("events.csv"), rows).unwrap();
            fs::write(shop.path("items.jsonl"), ITEMS).unwrap();
            let config = "name = \"t\"\nworkspace = \"ws\"\n[split]\ndays = 1\n[import]\nn_buckets = 4\n\
                          [import.items]\nfiles = [\"items.jsonl\"]\n\
                          [import.events]\nmax_reject_rate = 0.1\nfiles = [\"events.csv\"]\n";
            fs::write(shop.path("c.toml"), config).unwrap();
            for args in [&["import", "--config", "c.toml"][..], &["digest", "--workspace", "ws"]] {
                let output = recgpt(shop.dir.path(), args);
                assert!(output.status.success(), "{}", text(&output.stderr));
            }
            write_interests(&shop.path("ws/intent/interests.parquet"), &[interests()]).unwrap();
            shop
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn sql(&self, args: &[&str]) -> (i32, String, String) {
            let all = [&["sql", "--workspace", "ws"], args].concat();
            let output = recgpt(self.dir.path(), &all);
            (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
        }

        /// What a query prints on standard output.
        #[track_caller]
        fn check(&self, args: &[&str], expect: &str) {
            let (code, output, error) = self.sql(args);
            assert_eq!((code, output.as_str()), (0, expect), "{error}");
        }

        /// The exit code and parts of the message of a query that is refused.
        #[track_caller]
        fn refuse(&self, args: &[&str], expect_code: i32, expect: &[&str]) {
            let (code, output, error) = self.sql(args);
            assert_eq!((code, output.as_str()), (expect_code, ""), "{error}");
            assert!(!error.contains("panicked"), "{error}");
            for part in expect {
                assert!(error.contains(part), "{part:?} is not in: {error}");
            }
        }
    }

    fn interests() -> UserInterests {
        let interest = Interest {
            id: "1".to_owned(),
            text: "hiking in rain".to_owned(),
            stage: InterestStage::Short,
            source: InterestSource::Listed,
            reason: "boots".to_owned(),
            evidence: vec![],
        };
        let now = Timestamp(0);
        let profile = InterestProfile { user_id: "u1".to_owned(), now, interests: vec![interest] };
        UserInterests { profile, issues: vec![] }
    }

    #[test]
    fn every_table_answers() {
        let shop = Shop::new();
        let csv = |query: &str, expect: &str| shop.check(&[query, "--format", "csv"], expect);
        csv(
            "select event_type, count(*) as n from events group by event_type order by n",
            "event_type,n\ncart,4\nclick,8\n",
        );
        csv(
            "select event_id, timestamp, position, query from events where user_id = 'u1' order by 2",
            "event_id,timestamp,position,query\ne1,2025-01-02T08:00:00Z,,\n\
             e5,2025-01-06T08:00:00Z,,\"rain, boots\"\ne9,2025-01-10T08:00:00Z,,\n",
        );
        csv(
            "select title from items join events using (item_id) where event_id = 'e0'",
            "title\n\"Wool \"\"socks\"\", grün\u{202e}\"\n",
        );
        csv("select count(*) as n, sum(n_events) as events from digests", "n,events\n4,10\n");
        csv("select user_id, text from interests", "user_id,text\nu1,hiking in rain\n");
        csv("select reason, line from quarantine", "reason,line\nunknown_event_type,14\n");
        csv("select path from taxonomy where parent_id is null", "path\nSports\n");
        csv("select * from users", "user_id,attributes\n");
        csv(
            "select date_trunc('month', timestamp) as month, count(distinct user_id) as users \
             from events where timestamp >= '2025-01-05' group by 1",
            "month,users\n2025-01-01T00:00:00Z,4\n",
        );
        csv(
            "with last as (select user_id, max(timestamp) as t from events group by user_id) \
             select count(*) as n from last where t > '2025-01-10T00:00:00Z'",
            "n\n3\n",
        );
    }

    #[test]
    fn rows_are_printed_as_a_table_csv_or_json() {
        let shop = Shop::new();
        let query = "select item_id, price, title from items order by item_id";
        shop.check(
            &[query],
            "item_id  price  title\n───────  ─────  ───────────────────────\n\
             i1        90.0  Waterproof hiking boots\ni2         9.5  Wool \"socks\", grün\u{FFFD}\n",
        );
        let json = "[{\"item_id\":\"i1\",\"brand\":null},{\"item_id\":\"i2\",\"brand\":null}]\n";
        let query = "select item_id, brand from items order by item_id";
        shop.check(&[query, "--format", "json"], json);
        shop.check(&[query, "--json"], json);
        let none = "select item_id, price from items where price > 1000";
        shop.check(&[none], "item_id  price\n───────  ─────\n");
        shop.check(&[none, "--format", "csv"], "item_id,price\n");
        shop.check(&[none, "--json"], "[]\n");
        let (_, output, error) = shop.sql(&["select lines from digests limit 1"]);
        assert!(output.contains('…') && error.contains("1 row; long values are cut"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_there_is() {
        let shop = Shop::new();
        shop.refuse(&["select * from evnts"], 2, &["no table \"evnts\"", "events, items, users"]);
        shop.refuse(&["select * from other.events"], 2, &["no table \"other.events\""]);
        shop.refuse(
            &["select usr from\n events"],
            2,
            &["no column \"usr\"", "events.user_id", "line 1, column 8"],
        );
        shop.refuse(
            &["select 1 from events where user_id = \"u1\""],
            2,
            &["no column \"u1\"", "single quotes"],
        );
        shop.refuse(
            &["select * from tags"],
            2,
            &["tags is not made yet", "recgpt tag --workspace ws"],
        );
        shop.refuse(&["selec 1"], 2, &["does not parse", "Line: 1, Column: 1"]);
        shop.refuse(&[""], 2, &["the query is empty"]);
        shop.refuse(&["select 1; select 2"], 2, &["2 queries"]);
        shop.refuse(&["select nothing(user_id) from events"], 2, &["nothing"]);
        let twice = "select a.item_id, b.item_id from items a join items b using (price)";
        shop.refuse(&[twice, "--json"], 2, &["item_id", "AS"]);
        let lists = "select array_agg(item_id) as all_items from items";
        let (code, _, error) = shop.sql(&[lists, "--format", "csv"]);
        assert!(code == 2 && error.contains("choose another --format"), "{error}");
        shop.check(&[lists, "--json"], "[{\"all_items\":[\"i1\",\"i2\"]}]\n");
    }

    #[test]
    fn statements_that_write_are_refused_and_change_nothing() {
        let shop = Shop::new();
        let before = files(&shop.path("ws"));
        for (query, verb) in [
            ("create table t as select * from events", "CREATE"),
            ("create external table t stored as parquet location 'events'", "CREATE"),
            ("drop table events", "DROP"),
            ("insert into items select * from items", "INSERT"),
            ("update items set price = 0", "UPDATE"),
            ("delete from events", "DELETE"),
            ("truncate table events", "TRUNCATE"),
            ("copy items to 'stolen.csv'", "COPY"),
            ("copy (select * from items) to 'stolen.csv' stored as csv", "COPY"),
            ("explain analyze insert into items select * from items", "EXPLAIN"),
            ("set datafusion.execution.batch_size = 1", "SET"),
        ] {
            shop.refuse(&[query], 2, &[verb, "only reads"]);
        }
        shop.refuse(&["select * into t from items"], 2, &[]);
        shop.refuse(&["select * from 'events.csv'"], 2, &[]);
        assert_eq!(files(&shop.path("ws")), before);
        assert!(!shop.path("stolen.csv").exists());
    }

    #[test]
    fn filters_reach_the_files_and_memory_has_a_limit() {
        let shop = Shop::new();
        let (code, plan, error) =
            shop.sql(&["explain select query from events where user_id = 'u1'", "--format", "csv"]);
        assert_eq!(code, 0, "{error}");
        assert!(plan.contains("predicate=user_id") && plan.contains("pruning_predicate"), "{plan}");
        assert!(plan.contains("projection=[query]"), "{plan}");
        let sort = "select a.value as x from generate_series(1, 3000000) a order by x desc";
        let group = "select count(*) from (select value, count(*) from generate_series(1, 3000000) group by value)";
        shop.check(&["select 1 as x", "--memory-mib", "1"], "x\n─\n1\n");
        shop.refuse(&[group, "--memory-mib", "1"], 1, &["--memory-mib"]);
        let (code, output, _) = shop.sql(&[sort, "--memory-mib", "64", "--format", "csv"]);
        assert_eq!((code, output.lines().count()), (0, 3_000_001));
    }

    #[test]
    fn a_reader_who_has_seen_enough_ends_the_query_well() {
        let shop = Shop::new();
        let query = "select value from generate_series(1, 100000000)";
        let mut child = Command::new(env!("CARGO_BIN_EXE_recgpt"))
            .args(["sql", "--workspace", "ws", query, "--format", "csv"])
            .current_dir(shop.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    #[test]
    fn a_missing_or_broken_file_is_an_error_and_never_no_rows() {
        let shop = Shop::new();
        let bucket = fs::read_dir(shop.path("ws/events")).unwrap();
        let part = bucket.flatten().find(|e| e.path().is_dir()).unwrap().path();
        let part = fs::read_dir(part).unwrap().next().unwrap().unwrap().path();
        let bytes = fs::read(&part).unwrap();
        fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
        let (code, _, error) = shop.sql(&["select count(*) from events"]);
        assert!(code == 1 && error.contains("not readable as Parquet"), "{error}");
        fs::remove_file(&part).unwrap();
        let (code, _, error) = shop.sql(&["select count(*) from events"]);
        assert!(code == 1 && error.contains("cannot open"), "{error}");
        let (code, output, _) = shop.sql(&["select count(*) as n from items"]);
        assert_eq!((code, output.as_str()), (0, "n\n─\n2\n"));
    }

    /// Every file below a folder with its bytes.
    fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                found.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
        found.sort();
        found
    }
}
