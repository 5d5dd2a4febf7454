//! Every export format, read back and shown.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::path::Path;

use align::export::{
    ExportFormat, ExportRecord, ExportSummary, Split, records_from_samples, write_export,
};
use align::{Sample, Segment};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use lm::Message;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use serde_json::{Value, json};

const FORMATS: [ExportFormat; 4] =
    [ExportFormat::Trl, ExportFormat::LlamaFactory, ExportFormat::Verl, ExportFormat::Roll];

/// A demonstration in the terse form, a preference and a problem in prose, and a conversation in prose
/// that is held out.
fn records() -> Vec<ExportRecord> {
    let segment = |text: &str, loss| Segment { text: text.to_owned(), loss };
    let segments = vec![
        segment("<|mine|>2026-11\n3d(buy)|\"trail\" shoes\n<|interests|>", false),
        segment("trail shoes|läuft gern|long\n", true),
        segment("<|recent|>socks\n<|tags|>", false),
        segment("läuft gern|needs|warm socks\n", true),
    ];
    let sample = Sample::of_segments("mine_tag", segments);
    let prose = |id: &str, messages: &[(&str, &str)], split| ExportRecord {
        id: id.to_owned(),
        messages: messages.iter().map(|(role, text)| Message::new(*role, *text)).collect(),
        chosen: None,
        rejected: None,
        ground_truth: None,
        task: "tag".to_owned(),
        provenance: "hand".to_owned(),
        split,
    };
    let ask = [("system", "You tag."), ("user", "Digest: shoes")];
    let turns = [("user", "a?"), ("assistant", "a."), ("user", "b?"), ("assistant", "b.")];
    vec![
        ExportRecord::from_sample(&sample, "samples.jsonl:1".to_owned(), 0).unwrap(),
        ExportRecord {
            chosen: Some("warm socks".to_owned()),
            rejected: Some("a car".to_owned()),
            ..prose("pair", &ask, Split::Train)
        },
        ExportRecord {
            ground_truth: Some("warm socks".to_owned()),
            ..prose("problem", &ask, Split::Train)
        },
        prose("turns", &turns, Split::Test),
    ]
}

fn export(format: ExportFormat, records: &[ExportRecord], dir: &Path) -> ExportSummary {
    write_export(format, records, dir).unwrap()
}

/// All files with rows, by name, each row as JSON, and what was left out.
fn shown(format: ExportFormat) -> String {
    let dir = tempfile::tempdir().unwrap();
    let summary = export(format, &records(), dir.path());
    let mut out = String::new();
    for file in &summary.files {
        out.push_str(&format!("== {} ({})\n", file.name, file.n_rows));
        let path = dir.path().join(&file.name);
        if path.extension().is_some_and(|e| e == "parquet") {
            for row in parquet_rows(&path) {
                out.push_str(&format!("{row:#}\n"));
            }
        } else if file.name == "dataset_info.json" {
            out.push_str(&std::fs::read_to_string(path).unwrap());
        } else {
            for row in json_rows(&path) {
                out.push_str(&format!("{row:#}\n"));
            }
        }
    }
    out.push_str(&format!("== left out\n{:#}\n", json!(summary.left_out)));
    out
}

fn json_rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn parquet_rows(path: &Path) -> Vec<Value> {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let rows_of = |batch: RecordBatch| {
        let columns = StructArray::from(batch);
        (0..columns.len())
            .map(|row| value(&(std::sync::Arc::new(columns.clone()) as _), row))
            .collect::<Vec<_>>()
    };
    reader.flat_map(|batch| rows_of(batch.unwrap())).collect()
}

fn value(array: &ArrayRef, row: usize) -> Value {
    if let Some(texts) = array.as_string_opt::<i32>() {
        return json!(texts.value(row));
    }
    if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
        return json!(numbers.value(row));
    }
    if let Some(list) = array.as_list_opt::<i32>() {
        let inner = list.value(row);
        return (0..inner.len()).map(|i| value(&inner, i)).collect();
    }
    let columns = array.as_struct();
    let names = columns.column_names().into_iter().map(ToOwned::to_owned);
    names.zip(columns.columns().iter().map(|column| value(column, row))).collect()
}

#[test]
fn each_format_shows_one_record_of_each_kind() {
    insta::assert_snapshot!("trl", shown(ExportFormat::Trl));
    insta::assert_snapshot!("llamafactory", shown(ExportFormat::LlamaFactory));
    insta::assert_snapshot!("verl", shown(ExportFormat::Verl));
    insta::assert_snapshot!("roll", shown(ExportFormat::Roll));
}

#[test]
fn a_record_is_in_one_split_only_and_a_second_export_leaves_nothing_of_the_first() {
    for format in FORMATS {
        let dir = tempfile::tempdir().unwrap();
        let mut records = records();
        export(format, &records, dir.path());
        records.retain(|record| record.split == Split::Test);
        let summary = export(format, &records, dir.path());
        let mut there: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort_unstable();
        let mut written: Vec<String> = summary.files.into_iter().map(|file| file.name).collect();
        written.sort_unstable();
        assert_eq!(there, written, "{format:?}");
        assert!(there.iter().all(|name| !name.contains("train")), "{there:?}");
    }
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let bytes = |format| {
        let dir = tempfile::tempdir().unwrap();
        let summary = export(format, &records(), dir.path());
        let read = |name: &String| std::fs::read(dir.path().join(name)).unwrap();
        summary.files.iter().map(|file| read(&file.name)).collect::<Vec<_>>()
    };
    for format in FORMATS {
        assert_eq!(bytes(format), bytes(format), "{format:?}");
    }
}

#[test]
fn more_rows_than_a_batch_holds_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let first = &records()[0];
    let many: Vec<ExportRecord> =
        (0..2500).map(|i| ExportRecord { id: i.to_string(), ..first.clone() }).collect();
    export(ExportFormat::Verl, &many, dir.path());
    let rows = parquet_rows(&dir.path().join("rl_train.parquet"));
    assert_eq!(rows.len(), 2500);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["extra_info"]["index"], i);
        assert_eq!(row["extra_info"]["id"], i.to_string());
    }
}

#[test]
fn a_broken_record_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = records();
    records[3].messages.pop();
    let out = dir.path().join("out");
    let error = write_export(ExportFormat::Trl, &records, &out).unwrap_err();
    assert!(error.to_string().contains("turns: messages end without an answer"), "{error}");
    assert!(!out.exists());
}

proptest! {
    /// Whatever stands in the segments, every format gives it back letter by letter.
    #[test]
    fn texts_survive_every_format(
        texts in prop::collection::vec("(?s).{0,40}", 1..4),
        percent in prop::sample::select(vec![0u32, 100]),
    ) {
        let segments: Vec<Segment> = texts
            .iter()
            .flat_map(|text| {
                let prompt = Segment { text: format!("<|mine|>{text}"), loss: false };
                [prompt, Segment { text: text.clone(), loss: true }]
            })
            .collect();
        let sample = Sample::of_segments("t", segments);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        std::fs::write(&path, json!(sample).to_string()).unwrap();
        let records = records_from_samples(&path, percent).unwrap();
        let split = if percent == 0 { "train" } else { "test" };
        let wanted = json!(records[0].messages);
        let rows = |format, name: &str| {
            export(format, &records, dir.path());
            let path = dir.path().join(format!("{name}_{split}"));
            match format {
                ExportFormat::Verl => parquet_rows(&path.with_extension("parquet")),
                ExportFormat::Trl | ExportFormat::LlamaFactory | ExportFormat::Roll => {
                    json_rows(&path.with_extension("jsonl"))
                }
            }
        };
        for format in [ExportFormat::Trl, ExportFormat::LlamaFactory, ExportFormat::Verl] {
            prop_assert_eq!(&rows(format, "sft")[0]["messages"], &wanted);
        }
        let prompt = json!(records[0].prompt());
        prop_assert_eq!(&rows(ExportFormat::Trl, "rl")[0]["prompt"], &prompt);
        prop_assert_eq!(&rows(ExportFormat::Verl, "rl")[0]["prompt"], &prompt);
        let problem = &rows(ExportFormat::Roll, "rl")[0];
        let messages: Value = serde_json::from_str(problem["messages"].as_str().unwrap()).unwrap();
        prop_assert_eq!(&messages, &prompt);
        let turns = rows(ExportFormat::Roll, "sft");
        prop_assert_eq!(turns.len(), texts.len());
        let mut before = String::new();
        for (turn, text) in turns.iter().zip(&texts) {
            before.push_str(&format!("<|mine|>{text}"));
            prop_assert_eq!(&turn["instruction"], &json!(before));
            prop_assert_eq!(&turn["output"], &json!(text));
            before.push_str(&format!("{text}<|endoftext|>"));
        }
    }
}
