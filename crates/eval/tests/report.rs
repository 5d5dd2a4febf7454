//! The report as files: what stands in them, and that two runs can be compared.

mod fixture;

use eval::{EvalError, Report, RunInfo, StepTime};
use fixture::{HOSTILE, example, required_figures};

#[test]
fn report_json_holds_every_figure_that_the_issue_names() {
    let mut report = example();
    report.seal().unwrap();
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    for name in required_figures().keys() {
        assert!(json["figures"][name].is_number(), "{name} is missing");
    }
    let number = |name: &str| json["figures"][name].as_f64().unwrap();
    assert!((number("events.rows") - 1_314_863.0).abs() < 1e-9);
    assert!((number("time.mine_seconds") - 96.0).abs() < 1e-9);
    // item 260 -> behaviour 90 per event; behaviour 90 -> sequence 30
    assert!((number("digest.reduction_behaviour") - (1.0 - 90.0 / 260.0)).abs() < 1e-9);
    assert!((number("digest.reduction_sequence") - (1.0 - 30.0 / 90.0)).abs() < 1e-9);
    // raw 900 i <= 131072 for i <= 145 of 199
    assert!((number("digest.within_128k_raw") - 145.0 / 199.0).abs() < 1e-9);
    assert!((number("digest.within_128k") - 1.0).abs() < 1e-9);
}

#[test]
fn a_report_reads_back_as_it_was_written() {
    let mut report = example();
    report.seal().unwrap();
    let json = report.to_json().unwrap();
    let again = Report::from_json(&json).unwrap();
    assert_eq!(again.intent.as_ref().unwrap().users, report.intent.as_ref().unwrap().users);
    assert_eq!((&again.trace, &again.input), (&report.trace, &report.input));
    assert!(again.figures.keys().eq(report.figures.keys()));
    for (name, value) in &report.figures {
        // serde_json reads decimals to the last but one bit
        assert!((again.figures[name] - value).abs() <= 1e-12 * value.abs(), "{name}");
    }
    let broken = Report::from_json(&json[..json.len() / 2]);
    assert!(matches!(broken, Err(EvalError::Json(e)) if e.line() > 1));
}

#[test]
fn runs_differ_in_times_only() {
    let (mut a, mut b) = (example(), example());
    b.timings.steps = vec![StepTime { step: "mine".to_owned(), seconds: 1.0 }];
    b.timings.peak_memory_bytes = Some(1);
    a.seal().unwrap();
    b.seal().unwrap();
    assert!(a != b);
    assert_eq!(
        a.deterministic_view().to_json().unwrap(),
        b.deterministic_view().to_json().unwrap()
    );
}

#[test]
fn a_figure_that_is_no_number_is_refused_by_name() {
    let mut report = Report::new("t", RunInfo::default());
    report.figures.insert("x.y".to_owned(), f64::NAN);
    let refused = report.seal();
    assert!(matches!(refused, Err(EvalError::NotFinite { name, .. }) if name == "x.y"));
}

#[test]
fn the_page_is_one_file_without_script_and_escapes_all_text() {
    let page = example().to_html().unwrap();
    for section in
        ["results", "trace", "input", "compression", "intent", "users", "training", "run"]
    {
        assert!(page.contains(&format!("id=\"{section}\"")), "{section}");
    }
    for forbidden in ["<script", "src=", "@import", "url(", "http:", "https:"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(!page.contains(HOSTILE));
    assert!(page.matches("&lt;script&gt;").count() >= 5);
}

#[test]
fn a_report_without_sections_still_makes_a_page() {
    let page = Report::new("Empty", RunInfo::default()).to_html().unwrap();
    assert!(page.contains("Empty") && !page.contains("id=\"results\""));
}

#[test]
fn writing_makes_the_folder_and_leaves_two_whole_files() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/reports");
    let [json, html] = example().write(&folder).unwrap();
    assert!(json.ends_with("report.json") && html.ends_with("report.html"));
    assert!(std::fs::read_to_string(html).unwrap().ends_with("</html>"));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    std::fs::write(dir.path().join("file"), "").unwrap();
    let refused = example().write(&dir.path().join("file/reports"));
    assert!(matches!(refused, Err(EvalError::Io { path, .. }) if path.ends_with("reports")));
}
